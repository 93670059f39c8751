"""Fit the equations of predator and prey to the furs that trappers brought in.

    hare' = a hare - b hare lynx
    lynx' = d hare lynx - c lynx

The equations are integrated inside the graph: `tf.scan` goes from year to year, in each of which
a loop takes Runge-Kutta steps.  The gradient of the misfit runs backwards through both loops, and
so the rates and the populations at the start are found by gradient descent.

Data: Hudson's Bay Company, pelts of snowshoe hare and Canadian lynx in thousands, 1900 to 1920.

    python examples/lynx_and_hare.py [--steps 1500] [--show]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import staticgraph as tf

HARE = [30.0, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22.0, 25.4, 27.1, 40.3, 57.0, 76.6, 52.3,
        19.5, 11.2, 7.6, 14.6, 16.2, 24.7]  # fmt: skip
LYNX = [4.0, 6.1, 9.8, 35.2, 59.4, 41.7, 19.0, 13.0, 8.3, 9.1, 7.4, 8.0, 12.3, 19.5, 45.7, 51.1,
        29.7, 15.8, 9.7, 10.1, 8.6]  # fmt: skip
SUBSTEPS = 20  # Runge-Kutta steps in a year


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="steps of Adam")
    parser.add_argument("--show", action="store_true", help="print the loops that are run")
    args = parser.parse_args()

    seen = np.log(np.array([HARE, LYNX], np.float32).T)
    # Rates and populations are positive: their logarithms are what is varied.
    rates = tf.Variable(np.log(np.array([0.5, 0.02, 0.8, 0.02], np.float32)), name="rates")
    start = tf.Variable(seen[0], name="start")
    a, b, c, d = tf.unstack(tf.exp(rates))

    def flow(state: tf.Tensor) -> tf.Tensor:
        """The change of the logarithms of both populations, a year."""
        hare, lynx = tf.unstack(tf.exp(state))
        return tf.stack([a - b * lynx, d * hare - c])

    def substep(state: tf.Tensor) -> tf.Tensor:
        h = 1.0 / SUBSTEPS
        k1 = flow(state)
        k2 = flow(state + 0.5 * h * k1)
        k3 = flow(state + 0.5 * h * k2)
        k4 = flow(state + h * k3)
        return state + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)

    def year(state: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        """One year on."""
        return tf.while_loop(
            lambda k, s: k < SUBSTEPS, lambda k, s: (k + 1, substep(s)), [tf.constant(0), state]
        )[1]

    years = tf.scan(year, tf.range(len(HARE) - 1), start)
    path = tf.concat([start[tf.newaxis], years], axis=0)
    loss = tf.reduce_mean(tf.square(path - seen))
    rate = tf.placeholder_with_default(0.02, [])
    train = tf.train.AdamOptimizer(rate).minimize(loss)

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        began = time.perf_counter()
        value = sess.run(loss)
        print(f"    0  misfit {value:.4f}")
        for t in range(1, args.steps + 1):
            value, _ = sess.run([loss, train], {rate: 0.02 if t < 0.7 * args.steps else 0.004})
            if t % max(1, args.steps // 10) == 0:
                print(f"{t:5d}  misfit {value:.4f}")
        seconds = time.perf_counter() - began
        if args.show:
            print(sess.explain())
        fitted, (va, vb, vc, vd) = sess.run([tf.exp(path), [a, b, c, d]])

    print("year    hare  fitted    lynx  fitted")
    for k, (hare, lynx) in enumerate(zip(HARE, LYNX, strict=True)):
        print(f"{1900 + k}  {hare:6.1f}  {fitted[k, 0]:6.1f}  {lynx:6.1f}  {fitted[k, 1]:6.1f}")
    print(
        f"hare' = {va:.3f} hare - {vb:.4f} hare lynx;  lynx' = {vd:.4f} hare lynx - {vc:.3f} lynx"
    )
    integrated = (len(HARE) - 1) * SUBSTEPS * args.steps / seconds
    print(f"{integrated:,.0f} Runge-Kutta steps a second, gradients included")


if __name__ == "__main__":
    main()
