"""LLVM IR: what Python calls, and which entry is meant; a part of `codegen.entry_source`."""

from __future__ import annotations

ENTRY = """
; The entry of a session for what is fetched and fed, or null.
define internal ptr @find(ptr %s, ptr %fetches, ptr %keys, i64 %n) {
start:
  %list = call i1 @is(ptr %fetches, i64 $api_list)
  %tuple = call i1 @is(ptr %fetches, i64 $api_tuple)
  br i1 %list, label %a.list, label %no.list
a.list:
  %list.size = call ptr @known(i64 $api_list_size)
  %list.n = call i64 %list.size(ptr %fetches)
  %list.item = call ptr @known(i64 $api_list_item)
  br label %several
no.list:
  br i1 %tuple, label %a.tuple, label %search
a.tuple:
  %tuple.size = call ptr @known(i64 $api_tuple_size)
  %tuple.n = call i64 %tuple.size(ptr %fetches)
  %tuple.item = call ptr @known(i64 $api_tuple_item)
  br label %several
several:
  %count = phi i64 [ %list.n, %a.list ], [ %tuple.n, %a.tuple ]
  %get = phi ptr [ %list.item, %a.list ], [ %tuple.item, %a.tuple ]
  %its = phi i64 [ $form_list, %a.list ], [ $form_tuple, %a.tuple ]
  %empty = icmp eq i64 %count, 0
  br i1 %empty, label %no, label %head
head:
  %item.0 = call ptr %get(ptr %fetches, i64 0)
  br label %search
search:
  %form = phi i64 [ $form_one, %no.list ], [ %its, %head ]
  %m = phi i64 [ 1, %no.list ], [ %count, %head ]
  %item = phi ptr [ null, %no.list ], [ %get, %head ]
  %first = phi ptr [ %fetches, %no.list ], [ %item.0, %head ]
  %key = call ptr @pointer(ptr %keys, i64 0)
  %h.fetch = ptrtoint ptr %first to i64
  %h.key = ptrtoint ptr %key to i64
  %h.1 = lshr i64 %h.fetch, 4
  %h.2 = lshr i64 %h.key, 4
  %h.3 = mul i64 %h.2, 3
  %h.4 = add i64 %h.1, %h.3
  %h = add i64 %h.4, %n
  br label %probe
probe:
  %k = phi i64 [ 0, %search ], [ %k.next, %other ]
  %tired = icmp eq i64 %k, $probes
  br i1 %tired, label %no, label %try
try:
  %h.k = add i64 %h, %k
  %place = and i64 %h.k, $last_place
  %at = add i64 %place, $state_table
  %e = call ptr @pointer(ptr %s, i64 %at)
  %k.next = add i64 %k, 1
  %none = icmp eq ptr %e, null
  br i1 %none, label %other, label %there
other:
  br label %probe
there:
  %e.form = call i64 @number(ptr %e, i64 $entry_form)
  %e.m = call i64 @number(ptr %e, i64 $entry_filled)
  %e.n = call i64 @number(ptr %e, i64 $entry_keys)
  %d.form = xor i64 %e.form, %form
  %d.m = xor i64 %e.m, %m
  %d.n = xor i64 %e.n, %n
  %d.1 = or i64 %d.form, %d.m
  %d.2 = or i64 %d.1, %d.n
  %alike = icmp eq i64 %d.2, 0
  br i1 %alike, label %fetched, label %other
fetched:
  %wanted = call ptr @pointer(ptr %e, i64 $entry_fetched)
  %e.first = load ptr, ptr %wanted
  %d.first = icmp eq ptr %e.first, %first
  br i1 %d.first, label %items, label %other
items:
  %i = phi i64 [ 1, %fetched ], [ %i.next, %same ]
  %more = icmp slt i64 %i, %m
  br i1 %more, label %compare, label %keyed
compare:
  %a = call ptr %item(ptr %fetches, i64 %i)
  %b = call ptr @pointer(ptr %wanted, i64 %i)
  %i.next = add i64 %i, 1
  %equal = icmp eq ptr %a, %b
  br i1 %equal, label %same, label %other
same:
  br label %items
keyed:
  %fed = call ptr @pointer(ptr %e, i64 $entry_keyed)
  br label %feeds
feeds:
  %j = phi i64 [ 0, %keyed ], [ %j.next, %key.same ]
  %more.keys = icmp slt i64 %j, %n
  br i1 %more.keys, label %key.compare, label %yes
key.compare:
  %c = call ptr @pointer(ptr %keys, i64 %j)
  %d = call ptr @pointer(ptr %fed, i64 %j)
  %j.next = add i64 %j, 1
  %key.equal = icmp eq ptr %c, %d
  br i1 %key.equal, label %key.same, label %other
key.same:
  br label %feeds
yes:
  ret ptr %e
no:
  ret ptr null
}

; `Session.run` on (fetches, feed_dict); 1 where nothing was done.
define internal ptr @run(ptr %session, ptr %args, i64 %n, ptr %keywords) {
start:
  %keys = alloca ptr, i64 $most_feeds
  %values = alloca ptr, i64 $most_feeds
  %position = alloca i64
  store ptr null, ptr %keys
  store i64 0, ptr %position
  %state.p = getelementptr i8, ptr %session, i64 $slot
  %state = load ptr, ptr %state.p
  %stateless = icmp eq ptr %state, null
  br i1 %stateless, label %pass, label %arguments
arguments:
  %s = call ptr @data(ptr %state)
  %operations = call ptr @pointer(ptr %s, i64 $state_operations)
  %fresh = icmp eq ptr %operations, null
  br i1 %fresh, label %pass, label %growth
growth:
  %size = call ptr @known(i64 $api_list_size)
  %grown = call i64 %size(ptr %operations)
  %seen = call i64 @number(ptr %s, i64 $state_seen)
  %steady = icmp eq i64 %grown, %seen
  br i1 %steady, label %count, label %pass
count:
  %positional = icmp eq ptr %keywords, null
  br i1 %positional, label %plain, label %named
plain:
  switch i64 %n, label %pass [ i64 1, label %unfed i64 2, label %fed ]
named:
  %one = icmp eq i64 %n, 1
  br i1 %one, label %names, label %pass
names:
  %tuple.size = call ptr @known(i64 $api_tuple_size)
  %keywords.n = call i64 %tuple.size(ptr %keywords)
  %single = icmp eq i64 %keywords.n, 1
  br i1 %single, label %name, label %pass
name:
  %tuple.item = call ptr @known(i64 $api_tuple_item)
  %word = call ptr %tuple.item(ptr %keywords, i64 0)
  %feed_dict = call ptr @known(i64 $api_feed_dict)
  %meant = icmp eq ptr %word, %feed_dict
  br i1 %meant, label %fed, label %pass
fed:
  %feed = call ptr @pointer(ptr %args, i64 1)
  %dict = call i1 @is(ptr %feed, i64 $api_dict)
  br i1 %dict, label %feeds, label %no.dict
no.dict:
  %none = call ptr @known(i64 $api_none)
  %nothing = icmp eq ptr %feed, %none
  br i1 %nothing, label %unfed, label %pass
feeds:
  %dict.size = call ptr @known(i64 $api_dict_size)
  %m = call i64 %dict.size(ptr %feed)
  %many = icmp sgt i64 %m, $most_feeds
  br i1 %many, label %pass, label %take
take:
  %dict.next = call ptr @known(i64 $api_dict_next)
  br label %next
next:
  %i = phi i64 [ 0, %take ], [ %j, %item ]
  %more = icmp slt i64 %i, %m
  br i1 %more, label %item, label %search
item:
  %key.p = getelementptr ptr, ptr %keys, i64 %i
  %value.p = getelementptr ptr, ptr %values, i64 %i
  %got = call i32 %dict.next(ptr %feed, ptr %position, ptr %key.p, ptr %value.p)
  %j = add i64 %i, 1
  %missing = icmp eq i32 %got, 0
  br i1 %missing, label %pass, label %next
unfed:
  br label %search
search:
  %fed.n = phi i64 [ %i, %next ], [ 0, %unfed ]
  %fetches = load ptr, ptr %args
  %e = call ptr @find(ptr %s, ptr %fetches, ptr %keys, i64 %fed.n)
  %unknown = icmp eq ptr %e, null
  br i1 %unknown, label %pass, label %known
known:
  %out = call ptr @execute(ptr %e, ptr %values)
  ret ptr %out
pass:
  ret ptr inttoptr (i64 1 to ptr)
}

; The Python `run`, with the session as its first argument.
define internal ptr @run_python(ptr %session, ptr %args, i64 %n, ptr %keywords) {
start:
  %positional = icmp eq ptr %keywords, null
  br i1 %positional, label %all, label %named
named:
  %tuple.size = call ptr @known(i64 $api_tuple_size)
  %more = call i64 %tuple.size(ptr %keywords)
  br label %all
all:
  %extra = phi i64 [ 0, %start ], [ %more, %named ]
  %given = add i64 %n, %extra
  %room = add i64 %given, 1
  %own = alloca ptr, i64 %room
  store ptr %session, ptr %own
  %rest = getelementptr ptr, ptr %own, i64 1
  %bytes = shl i64 %given, 3
  call void @copy(ptr %rest, ptr %args, i64 %bytes)
  %run = call ptr @known(i64 $api_run)
  %count = add i64 %n, 1
  %out = call ptr @invoke(ptr %run, ptr %own, i64 %count, ptr %keywords)
  ret ptr %out
}

define ptr @entry(ptr %self, ptr %args, i64 %n, ptr %keywords) {
start:
  %first = icmp slt i64 %n, 0
  br i1 %first, label %set, label %which
set: ; once, not by Python: the table of what is known
  store ptr %args, ptr @api
  ret ptr null
which:
  %callable = call i1 @is(ptr %self, i64 $api_tuple)
  br i1 %callable, label %call, label %run
run:
  %ran = call ptr @run(ptr %self, ptr %args, i64 %n, ptr %keywords)
  %undone = icmp eq ptr %ran, inttoptr (i64 1 to ptr)
  br i1 %undone, label %python, label %done
python:
  %slow = call ptr @run_python(ptr %self, ptr %args, i64 %n, ptr %keywords)
  ret ptr %slow
done:
  ret ptr %ran
call:
  %item = call ptr @known(i64 $api_tuple_item)
  %block = call ptr %item(ptr %self, i64 0)
  %e = call ptr @data(ptr %block)
  %positional = icmp eq ptr %keywords, null
  %wanted = call i64 @number(ptr %e, i64 $entry_keys)
  %enough = icmp eq i64 %n, %wanted
  %fits = and i1 %positional, %enough
  br i1 %fits, label %execute, label %general
execute:
  %called = call ptr @execute(ptr %e, ptr %args)
  %skipped = icmp eq ptr %called, inttoptr (i64 1 to ptr)
  br i1 %skipped, label %general, label %returned
returned:
  ret ptr %called
general:
  %function = call ptr @pointer(ptr %e, i64 $entry_slow)
  %out = call ptr @invoke(ptr %function, ptr %args, i64 %n, ptr %keywords)
  ret ptr %out
}
"""
