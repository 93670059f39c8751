"""LLVM IR: does a value fit as it is, and where it goes; a part of `codegen.entry_source`."""

from __future__ import annotations

FEEDS = """
; Is a number finite as a double and not as a float?
define internal i1 @lost(double %x, float %f) alwaysinline {
  %f.wide = fpext float %f to double
  %f.zero = fsub double %f.wide, %f.wide
  %x.zero = fsub double %x, %x
  %f.odd = fcmp uno double %f.zero, 0.0
  %x.odd = fcmp uno double %x.zero, 0.0
  %apart = xor i1 %f.odd, %x.odd
  ret i1 %apart
}

define internal i1 @round(ptr %to, ptr %data, i64 %n) {
start:
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %one ]
  %bad = phi i1 [ false, %start ], [ %worse, %one ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %done
one:
  %x.p = getelementptr double, ptr %data, i64 %i
  %x = load double, ptr %x.p
  %f = fptrunc double %x to float
  %f.p = getelementptr float, ptr %to, i64 %i
  store float %f, ptr %f.p
  %lost = call i1 @lost(double %x, float %f)
  %worse = or i1 %bad, %lost
  %j = add i64 %i, 1
  br label %next
done:
  %good = xor i1 %bad, true
  ret i1 %good
}

define internal i1 @shaped(ptr %feed, ptr %array) {
start:
  %rank.p = getelementptr i8, ptr %array, i64 24
  %rank.32 = load i32, ptr %rank.p
  %n = sext i32 %rank.32 to i64
  %dims = call i64 @number(ptr %feed, i64 $feed_rank)
  %ranked = icmp eq i64 %n, %dims
  br i1 %ranked, label %shape, label %no
shape:
  %shape.p = getelementptr i8, ptr %array, i64 32
  %found = load ptr, ptr %shape.p
  %sizes = call ptr @pointer(ptr %feed, i64 $feed_sizes)
  br label %next
next:
  %i = phi i64 [ 0, %shape ], [ %j, %compare ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %compare, label %yes
compare:
  %a = call i64 @number(ptr %found, i64 %i)
  %b = call i64 @number(ptr %sizes, i64 %i)
  %j = add i64 %i, 1
  %equal = icmp eq i64 %a, %b
  br i1 %equal, label %next, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

define internal i1 @offer_array(ptr %feed, ptr %array) {
start:
  %type.p = getelementptr i8, ptr %array, i64 56
  %type = load ptr, ptr %type.p
  %wanted = call ptr @pointer(ptr %feed, i64 $feed_type)
  %typed = icmp eq ptr %type, %wanted
  br i1 %typed, label %rank, label %other
other:
  %rounds = call i64 @number(ptr %feed, i64 $feed_rounds)
  %single = icmp ne i64 %rounds, 0
  %doubles = call ptr @known(i64 $api_doubles)
  %double = icmp eq ptr %type, %doubles
  %rounded = and i1 %single, %double
  br i1 %rounded, label %rank, label %no
rank:
  %shaped = call i1 @shaped(ptr %feed, ptr %array)
  br i1 %shaped, label %layout, label %no
layout:
  %flags.p = getelementptr i8, ptr %array, i64 64
  %flags = load i32, ptr %flags.p
  %good = and i32 %flags, 257 ; C_CONTIGUOUS, ALIGNED
  %plain = icmp eq i32 %good, 257
  br i1 %plain, label %place, label %no
place:
  %data = call ptr @data(ptr %array)
  %address = ptrtoint ptr %data to i64
  %bytes = call i64 @number(ptr %feed, i64 $feed_bytes)
  %some = icmp ne i64 %bytes, 0
  br i1 %some, label %full, label %yes ; kernels may read where an empty array is
full:
  br i1 %typed, label %same, label %round
round: ; what becomes infinite is left to numpy, which warns
  %rounds.to = call ptr @pointer(ptr %feed, i64 $feed_place)
  %floats = lshr i64 %bytes, 2
  %good.all = call i1 @round(ptr %rounds.to, ptr %data, i64 %floats)
  ret i1 %good.all
same:
  %patches = call i64 @number(ptr %feed, i64 $feed_patches)
  %fixed = icmp eq i64 %patches, 0
  %low = and i64 %address, 15
  %odd = icmp ne i64 %low, 0
  %staged = or i1 %odd, %fixed
  br i1 %staged, label %stage, label %direct
stage: ; to where the last run through Python need not have read it
  %to = call ptr @pointer(ptr %feed, i64 $feed_place)
  %to.address = ptrtoint ptr %to to i64
  call void @copy(ptr %to, ptr %data, i64 %bytes)
  call void @patch(ptr %feed, i64 %to.address)
  ret i1 true
direct:
  call void @patch(ptr %feed, i64 %address)
  ret i1 true
yes:
  ret i1 true
no:
  ret i1 false
}

define internal i1 @offer_number(ptr %feed, ptr %object) {
start:
  %overflow = alloca i32
  %word = alloca i64
  %place = call ptr @pointer(ptr %feed, i64 $feed_place)
  %bytes = call i64 @number(ptr %feed, i64 $feed_bytes)
  %value = call ptr @value(ptr %object)
  %type = call ptr @type(ptr %object)
  %own = call ptr @pointer(ptr %feed, i64 $feed_scalar)
  %same = icmp eq ptr %type, %own
  br i1 %same, label %scalar, label %other
scalar:
  call void @copy(ptr %place, ptr %value, i64 %bytes)
  ret i1 true
other:
  %code = call i64 @number(ptr %feed, i64 $feed_code)
  switch i64 %code, label %no [ i64 $number_float32, label %real
                                i64 $number_float64, label %real
                                i64 $number_integer, label %whole
                                i64 $number_bool, label %truth ]
real:
  %float = call i1 @is(ptr %object, i64 $api_float)
  %float64 = call i1 @is(ptr %object, i64 $api_float64)
  %double = or i1 %float, %float64
  br i1 %double, label %from.double, label %single
from.double:
  %d = load double, ptr %value
  br label %put.real
single:
  %float32 = call i1 @is(ptr %object, i64 $api_float32)
  br i1 %float32, label %from.single, label %whole
from.single:
  %s = load float, ptr %value
  %s.wide = fpext float %s to double
  br label %put.real
whole:
  %int = call i1 @is(ptr %object, i64 $api_int)
  br i1 %int, label %from.int, label %no
from.int:
  %as = call ptr @known(i64 $api_as_int)
  %i = call i64 %as(ptr %object, ptr %overflow)
  %over = load i32, ptr %overflow
  %large = icmp ne i32 %over, 0
  br i1 %large, label %no, label %kind
kind:
  %exact = icmp eq i64 %code, $number_integer
  br i1 %exact, label %put.int, label %widen
widen:
  %i.wide = sitofp i64 %i to double
  br label %put.real
put.int:
  %least = call i64 @number(ptr %feed, i64 $feed_low)
  %most = call i64 @number(ptr %feed, i64 $feed_high)
  %above = icmp sge i64 %i, %least
  %below = icmp sle i64 %i, %most
  %inside = and i1 %above, %below
  br i1 %inside, label %store.int, label %no
store.int:
  store i64 %i, ptr %word
  call void @copy(ptr %place, ptr %word, i64 %bytes)
  ret i1 true
put.real:
  %x = phi double [ %d, %from.double ], [ %s.wide, %from.single ], [ %i.wide, %widen ]
  %narrow = icmp eq i64 %code, $number_float32
  br i1 %narrow, label %round, label %put.double
put.double:
  store double %x, ptr %place
  ret i1 true
round: ; what becomes infinite is left to numpy, which warns
  %f = fptrunc double %x to float
  %lost = call i1 @lost(double %x, float %f)
  br i1 %lost, label %no, label %put.float
put.float:
  store float %f, ptr %place
  ret i1 true
truth:
  %true = call ptr @known(i64 $api_true)
  %false = call ptr @known(i64 $api_false)
  %yea = icmp eq ptr %object, %true
  %nay = icmp eq ptr %object, %false
  %either = or i1 %yea, %nay
  br i1 %either, label %put.truth, label %no
put.truth:
  %bit = zext i1 %yea to i8
  store i8 %bit, ptr %place
  ret i1 true
no:
  ret i1 false
}

; Is what stands there the value that a plan is bound to?
define internal i1 @holds(ptr %feed, ptr %there) {
start:
  %value = call i64 @number(ptr %feed, i64 $feed_value)
  %bytes = call i64 @number(ptr %feed, i64 $feed_bytes)
  %long = icmp eq i64 %bytes, 8
  br i1 %long, label %eight, label %four
eight:
  %x = load i64, ptr %there
  %same.8 = icmp eq i64 %x, %value
  ret i1 %same.8
four:
  %y = load i32, ptr %there
  %y.wide = sext i32 %y to i64
  %same.4 = icmp eq i64 %y.wide, %value
  ret i1 %same.4
}

; The same of a number or array that is fed; false where it is of another type.
define internal i1 @sized(ptr %feed, ptr %object, i1 %array) {
start:
  %overflow = alloca i32
  br i1 %array, label %typed, label %number
typed:
  %type.p = getelementptr i8, ptr %object, i64 56
  %type = load ptr, ptr %type.p
  %wanted = call ptr @pointer(ptr %feed, i64 $feed_type)
  %right = icmp eq ptr %type, %wanted
  br i1 %right, label %data, label %no
data:
  %array.data = call ptr @data(ptr %object)
  br label %read
number:
  %class = call ptr @type(ptr %object)
  %own = call ptr @pointer(ptr %feed, i64 $feed_scalar)
  %scalar = icmp eq ptr %class, %own
  br i1 %scalar, label %inside, label %whole
inside:
  %scalar.data = call ptr @value(ptr %object)
  br label %read
read:
  %there = phi ptr [ %array.data, %data ], [ %scalar.data, %inside ]
  %same = call i1 @holds(ptr %feed, ptr %there)
  ret i1 %same
whole:
  %int = call i1 @is(ptr %object, i64 $api_int)
  br i1 %int, label %from.int, label %no
from.int:
  %as = call ptr @known(i64 $api_as_int)
  %i = call i64 %as(ptr %object, ptr %overflow)
  %value = call i64 @number(ptr %feed, i64 $feed_value)
  %equal = icmp eq i64 %i, %value
  %over = load i32, ptr %overflow
  %exact = icmp eq i32 %over, 0
  %good = and i1 %equal, %exact
  ret i1 %good
no:
  ret i1 false
}

define internal i1 @offer(ptr %plan, ptr %values) {
start:
  %n = call i64 @number(ptr %plan, i64 $plan_feeds)
  %feeds = call ptr @pointer(ptr %plan, i64 $plan_fed)
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %taken ], [ %j, %bound ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %yes
one:
  %at = mul i64 %i, $feed_words
  %feed = getelementptr i64, ptr %feeds, i64 %at
  %value = call ptr @pointer(ptr %values, i64 %i)
  %is.array = call i1 @is(ptr %value, i64 $api_array)
  br i1 %is.array, label %array, label %number
array:
  %from.array = call i1 @offer_array(ptr %feed, ptr %value)
  br label %done
number:
  %from.number = call i1 @offer_number(ptr %feed, ptr %value)
  br label %done
done:
  %fits = phi i1 [ %from.array, %array ], [ %from.number, %number ]
  %j = add i64 %i, 1
  br i1 %fits, label %taken, label %no
taken:
  %size = call i64 @number(ptr %feed, i64 $feed_size)
  %any = icmp eq i64 %size, 0
  br i1 %any, label %next, label %bound
bound:
  %place = call ptr @pointer(ptr %feed, i64 $feed_place)
  %same = call i1 @holds(ptr %feed, ptr %place)
  br i1 %same, label %next, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; Have all arrays the shapes, and the numbers that are sizes the values, that a plan is bound to?
define internal i1 @suits(ptr %plan, ptr %values) {
start:
  %n = call i64 @number(ptr %plan, i64 $plan_feeds)
  %feeds = call ptr @pointer(ptr %plan, i64 $plan_fed)
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %free ], [ %j, %told ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %yes
one:
  %at = mul i64 %i, $feed_words
  %feed = getelementptr i64, ptr %feeds, i64 %at
  %value = call ptr @pointer(ptr %values, i64 %i)
  %j = add i64 %i, 1
  %is.array = call i1 @is(ptr %value, i64 $api_array)
  br i1 %is.array, label %array, label %free ; other numbers are offered to whichever plan it is
array:
  %shaped = call i1 @shaped(ptr %feed, ptr %value)
  br i1 %shaped, label %free, label %no
free:
  %size = call i64 @number(ptr %feed, i64 $feed_size)
  %any = icmp eq i64 %size, 0
  br i1 %any, label %next, label %told
told:
  %same = call i1 @sized(ptr %feed, ptr %value, i1 %is.array)
  br i1 %same, label %next, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; The plan of an entry for the shapes of the values, or null; where there is one, it is that.
define internal ptr @bound(ptr %e, ptr %values) {
start:
  %n = call i64 @number(ptr %e, i64 $entry_plans)
  %plans = call ptr @pointer(ptr %e, i64 $entry_bound)
  switch i64 %n, label %next [ i64 0, label %no
                               i64 1, label %only ]
only:
  %first = load ptr, ptr %plans
  ret ptr %first
next:
  %i = phi i64 [ 0, %start ], [ %j, %one ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %no
one:
  %plan = call ptr @pointer(ptr %plans, i64 %i)
  %j = add i64 %i, 1
  %good = call i1 @suits(ptr %plan, ptr %values)
  br i1 %good, label %yes, label %next
yes:
  ret ptr %plan
no:
  ret ptr null
}
"""
