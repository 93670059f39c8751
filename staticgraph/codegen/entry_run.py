"""LLVM IR: one run of a plan, from values to results; a part of `codegen.entry_source`."""

from __future__ import annotations

RESULTS = """
define internal i1 @make_arrays(ptr %plan, ptr %objects) {
start:
  %n = call i64 @number(ptr %plan, i64 $plan_results)
  %results = call ptr @pointer(ptr %plan, i64 $plan_shown)
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %one ], [ %j, %array ], [ %j, %point ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %yes
one:
  %at = mul i64 %i, $result_words
  %result = getelementptr i64, ptr %results, i64 %at
  %rank = call i64 @number(ptr %result, i64 $result_rank)
  %slot = getelementptr ptr, ptr %objects, i64 %i
  store ptr null, ptr %slot
  %j = add i64 %i, 1
  %scalar = icmp eq i64 %rank, 0
  br i1 %scalar, label %next, label %several
several:
  %type = call ptr @pointer(ptr %result, i64 $result_type)
  %sizes = call ptr @pointer(ptr %result, i64 $result_sizes)
  %keeper = call ptr @pointer(ptr %result, i64 $result_keeper)
  %copied = icmp eq ptr %keeper, null
  br i1 %copied, label %array, label %direct
direct:
  %bytes = call i64 @number(ptr %result, i64 $result_bytes)
  %capsule = call ptr @pointer(ptr %result, i64 $result_capsule)
  %make = call ptr @pointer(ptr %result, i64 $result_make)
  %own = call ptr %make(ptr %keeper, ptr %capsule, ptr %type, i64 %rank, ptr %sizes, i64 %bytes)
  store ptr %own, ptr %slot
  %none = icmp eq ptr %own, null
  br i1 %none, label %failed, label %point
point:
  %data = call ptr @data(ptr %own)
  %address = ptrtoint ptr %data to i64
  %patches = call i64 @number(ptr %result, i64 $result_patches)
  %patched = call ptr @pointer(ptr %result, i64 $result_patched)
  call void @patch_all(i64 %patches, ptr %patched, i64 %address)
  br label %next
array:
  call void @take(ptr %type) ; the call gives it back
  %class = call ptr @known(i64 $api_array)
  %rank.32 = trunc i64 %rank to i32
  %new = call ptr @known(i64 $api_new_array)
  %made = call ptr %new(ptr %class, ptr %type, i32 %rank.32, ptr %sizes, ptr null, ptr null,
                        i32 0, ptr null)
  store ptr %made, ptr %slot
  %bad = icmp eq ptr %made, null
  br i1 %bad, label %failed, label %next
failed:
  call void @give_all(ptr %objects, i64 %i)
  ret i1 false
yes:
  ret i1 true
}

define internal i1 @fill_results(ptr %plan, ptr %objects) {
start:
  %n = call i64 @number(ptr %plan, i64 $plan_results)
  %results = call ptr @pointer(ptr %plan, i64 $plan_shown)
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %look ], [ %j, %fill ], [ %j, %make ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %yes
one:
  %at = mul i64 %i, $result_words
  %result = getelementptr i64, ptr %results, i64 %at
  %source = call ptr @pointer(ptr %result, i64 $result_source)
  %slot = getelementptr ptr, ptr %objects, i64 %i
  %array = load ptr, ptr %slot
  %j = add i64 %i, 1
  %scalar = icmp eq ptr %array, null
  br i1 %scalar, label %make, label %look
look:
  %keeper = call ptr @pointer(ptr %result, i64 $result_keeper)
  %copied = icmp eq ptr %keeper, null
  br i1 %copied, label %fill, label %next ; or it is there
fill:
  %bytes = call i64 @number(ptr %result, i64 $result_bytes)
  %data = call ptr @data(ptr %array)
  call void @copy(ptr %data, ptr %source, i64 %bytes)
  br label %next
make:
  %type = call ptr @pointer(ptr %result, i64 $result_type)
  %new = call ptr @known(i64 $api_new_scalar)
  %made = call ptr %new(ptr %source, ptr %type, ptr null)
  store ptr %made, ptr %slot
  %bad = icmp eq ptr %made, null
  br i1 %bad, label %failed, label %next
failed:
  call void @give_all(ptr %objects, i64 %n)
  ret i1 false
yes:
  ret i1 true
}

define internal ptr @chosen(ptr %objects, i64 %slot) { ; a new reference
start:
  %nothing = icmp slt i64 %slot, 0
  br i1 %nothing, label %none, label %some
none:
  %n = call ptr @known(i64 $api_none)
  br label %done
some:
  %o = call ptr @pointer(ptr %objects, i64 %slot)
  br label %done
done:
  %r = phi ptr [ %n, %none ], [ %o, %some ]
  call void @take(ptr %r)
  ret ptr %r
}

define internal ptr @assemble(ptr %e, ptr %objects, i64 %n) {
start:
  %argument = alloca ptr
  %form = call i64 @number(ptr %e, i64 $entry_form)
  %slots = call ptr @pointer(ptr %e, i64 $entry_slots)
  %filled = call i64 @number(ptr %e, i64 $entry_filled)
  switch i64 %form, label %list [ i64 $form_one, label %one
                                  i64 $form_tuple, label %tuple ]
one:
  %slot = load i64, ptr %slots
  %only = call ptr @chosen(ptr %objects, i64 %slot)
  call void @give_all(ptr %objects, i64 %n)
  ret ptr %only
list:
  %new.list = call ptr @known(i64 $api_new_list)
  %l = call ptr %new.list(i64 %filled)
  %set.list = call ptr @known(i64 $api_set_list)
  br label %made
tuple:
  %new.tuple = call ptr @known(i64 $api_new_tuple)
  %t = call ptr %new.tuple(i64 %filled)
  %set.tuple = call ptr @known(i64 $api_set_tuple)
  br label %made
made:
  %out = phi ptr [ %l, %list ], [ %t, %tuple ]
  %set = phi ptr [ %set.list, %list ], [ %set.tuple, %tuple ]
  %failed = icmp eq ptr %out, null
  br i1 %failed, label %end, label %next
next:
  %i = phi i64 [ 0, %made ], [ %j, %item ]
  %more = icmp slt i64 %i, %filled
  br i1 %more, label %item, label %end
item:
  %at = call i64 @number(ptr %slots, i64 %i)
  %o = call ptr @chosen(ptr %objects, i64 %at)
  %ignored = call i32 %set(ptr %out, i64 %i, ptr %o)
  %j = add i64 %i, 1
  br label %next
end:
  call void @give_all(ptr %objects, i64 %n)
  %rebuilt = icmp eq i64 %form, $form_rebuilt
  %there = icmp ne ptr %out, null
  %more.to.do = and i1 %rebuilt, %there
  br i1 %more.to.do, label %rebuild, label %done
rebuild:
  %function = call ptr @pointer(ptr %e, i64 $entry_rebuild)
  store ptr %out, ptr %argument
  %built = call ptr @invoke(ptr %function, ptr %argument, i64 1, ptr null)
  call void @give(ptr %out)
  ret ptr %built
done:
  ret ptr %out
}
"""

RUN = """
define internal i64 @walk(ptr %plan, i1 %free) {
start:
  %function = call ptr @pointer(ptr %plan, i64 $plan_walk)
  %table = call ptr @pointer(ptr %plan, i64 $plan_table)
  %rows = call i64 @number(ptr %plan, i64 $plan_rows)
  %failed = call ptr @pointer(ptr %plan, i64 $plan_failed)
  br i1 %free, label %without, label %with
without:
  %save = call ptr @known(i64 $api_save)
  %thread = call ptr %save()
  %late = call i64 %function(ptr %table, i64 0, i64 %rows, ptr %failed)
  %restore = call ptr @known(i64 $api_restore)
  call void %restore(ptr %thread)
  ret i64 %late
with:
  %soon = call i64 %function(ptr %table, i64 0, i64 %rows, ptr %failed)
  ret i64 %soon
}

; Raise what a status means; all that is asked of the plan is read before the lock is given up.
define internal ptr @failure(ptr %fail, ptr %numbers) {
start:
  %objects = alloca ptr, i64 4
  %new = call ptr @known(i64 $api_from_int)
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %one ]
  %more = icmp slt i64 %i, 4
  br i1 %more, label %one, label %call
one:
  %v = call i64 @number(ptr %numbers, i64 %i)
  %o = call ptr %new(i64 %v)
  %at = getelementptr ptr, ptr %objects, i64 %i
  store ptr %o, ptr %at
  %j = add i64 %i, 1
  %bad = icmp eq ptr %o, null
  br i1 %bad, label %failed, label %next
call:
  %raised = call ptr @invoke(ptr %fail, ptr %objects, i64 4, ptr null)
  call void @give(ptr %raised)
  br label %failed
failed:
  call void @give_all(ptr %objects, i64 %i)
  ret ptr null
}

define internal void @leave(ptr %plan, ptr %s, ptr %values, i1 %free) {
start:
  call void @unpatch(ptr %plan)
  br i1 %free, label %unlock, label %done
unlock:
  %n = call i64 @number(ptr %plan, i64 $plan_feeds)
  call void @put(ptr %s, i64 $state_busy, i64 0)
  %release = call ptr @pointer(ptr %s, i64 $state_release)
  %released = call ptr @invoke(ptr %release, ptr null, i64 0, ptr null)
  call void @give(ptr %released)
  call void @give_all(ptr %values, i64 %n)
  br label %done
done:
  ret void
}

; Run the plan of an entry: the result; null, where an exception is set; 1, where nothing was done.
define internal ptr @execute(ptr %e, ptr %values) {
start:
  %argument = alloca ptr
  %numbers = alloca i64, i64 4
  %error = alloca ptr, i64 3
  %plan = call ptr @bound(ptr %e, ptr %values)
  %unbound = icmp eq ptr %plan, null
  br i1 %unbound, label %pass, label %look
look:
  %s = call ptr @pointer(ptr %e, i64 $entry_state)
  %busy = call i64 @number(ptr %s, i64 $state_busy)
  %aside = call i64 @number(ptr %s, i64 $state_aside)
  %either = or i64 %busy, %aside
  %mark.p = call ptr @pointer(ptr %s, i64 $state_generation)
  %now = load i64, ptr %mark.p
  %then = call i64 @number(ptr %plan, i64 $plan_generation)
  %apart = xor i64 %now, %then
  %against = or i64 %either, %apart
  %go = icmp eq i64 %against, 0
  br i1 %go, label %claim, label %pass
claim:
  %long = call i64 @number(ptr %plan, i64 $plan_release)
  %free = icmp ne i64 %long, 0
  br i1 %free, label %lock, label %ready
lock: ; without waiting: who has to wait does so in Python
  %false = call ptr @known(i64 $api_false)
  store ptr %false, ptr %argument
  %acquire = call ptr @pointer(ptr %s, i64 $state_acquire)
  %got = call ptr @invoke(ptr %acquire, ptr %argument, i64 1, ptr null)
  %broken = icmp eq ptr %got, null
  br i1 %broken, label %raised, label %locked
locked:
  call void @give(ptr %got)
  %true = call ptr @known(i64 $api_true)
  %mine = icmp eq ptr %got, %true
  br i1 %mine, label %mark, label %pass
mark:
  call void @put(ptr %s, i64 $state_busy, i64 1)
  %feeds = call i64 @number(ptr %plan, i64 $plan_feeds)
  call void @take_all(ptr %values, i64 %feeds)
  br label %ready
ready:
  %n = call i64 @number(ptr %plan, i64 $plan_results)
  %objects = alloca ptr, i64 %n
  %placed = call i1 @offer(ptr %plan, ptr %values)
  br i1 %placed, label %make, label %unfit
unfit:
  call void @leave(ptr %plan, ptr %s, ptr %values, i1 %free)
  br label %pass
make:
  %made = call i1 @make_arrays(ptr %plan, ptr %objects)
  br i1 %made, label %run, label %refused
run:
  call void @position(ptr %plan)
  %status = call i64 @walk(ptr %plan, i1 %free)
  %bad = icmp ne i64 %status, 0
  br i1 %bad, label %stopped, label %after
stopped: ; a loop that takes long is left to Python, which begins anew: nothing has changed yet
  %waits = icmp sge i64 %status, $suspended
  br i1 %waits, label %later, label %failed
later:
  call void @give_all(ptr %objects, i64 %n)
  br label %unfit
after:
  %filled = call i1 @fill_results(ptr %plan, ptr %objects)
  br i1 %filled, label %finish, label %refused
finish:
  call void @commit(ptr %plan)
  call void @advance(ptr %plan)
  %runs = call ptr @pointer(ptr %plan, i64 $plan_runs)
  %count = load i64, ptr %runs
  %counted = add i64 %count, 1
  store i64 %counted, ptr %runs
  %rows = call i64 @number(ptr %plan, i64 $plan_rows)
  %steps = call i64 @number(ptr %runs, i64 1)
  %stepped = add i64 %steps, %rows
  call void @put(ptr %runs, i64 1, i64 %stepped)
  %calls = call i64 @number(ptr %runs, i64 2)
  %walked = icmp ne i64 %rows, 0
  %call = zext i1 %walked to i64
  %called = add i64 %calls, %call
  call void @put(ptr %runs, i64 2, i64 %called)
  %owner = call ptr @pointer(ptr %e, i64 $entry_owner)
  call void @take(ptr %owner) ; other code may run from here on, and drop the entry
  call void @leave(ptr %plan, ptr %s, ptr %values, i1 %free)
  %out = call ptr @assemble(ptr %e, ptr %objects, i64 %n)
  call void @give(ptr %owner)
  ret ptr %out
failed:
  %row.p = call ptr @pointer(ptr %plan, i64 $plan_failed)
  %row = load i64, ptr %row.p
  %ends = call ptr @pointer(ptr %plan, i64 $plan_ends)
  %end = call ptr @pointer(ptr %ends, i64 %row)
  %index = call i64 @number(ptr %end, i64 -2)
  %bound = call i64 @number(ptr %end, i64 -1)
  call void @put(ptr %numbers, i64 0, i64 %row)
  call void @put(ptr %numbers, i64 1, i64 %status)
  call void @put(ptr %numbers, i64 2, i64 %index)
  call void @put(ptr %numbers, i64 3, i64 %bound)
  %fail = call ptr @pointer(ptr %plan, i64 $plan_fail)
  call void @take(ptr %fail)
  call void @leave(ptr %plan, ptr %s, ptr %values, i1 %free)
  call void @give_all(ptr %objects, i64 %n)
  %none = call ptr @failure(ptr %fail, ptr %numbers)
  call void @give(ptr %fail)
  ret ptr %none
refused: ; no memory
  %error.1 = getelementptr ptr, ptr %error, i64 1
  %error.2 = getelementptr ptr, ptr %error, i64 2
  %fetch = call ptr @known(i64 $api_fetch_error)
  call void %fetch(ptr %error, ptr %error.1, ptr %error.2)
  call void @leave(ptr %plan, ptr %s, ptr %values, i1 %free)
  %kind = load ptr, ptr %error
  %what = load ptr, ptr %error.1
  %trace = load ptr, ptr %error.2
  %restore = call ptr @known(i64 $api_set_error)
  call void %restore(ptr %kind, ptr %what, ptr %trace)
  br label %raised
raised:
  ret ptr null
pass:
  ret ptr inttoptr (i64 1 to ptr)
}
"""
