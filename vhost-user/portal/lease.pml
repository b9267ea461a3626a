/* SPDX-License-Identifier: MIT */
/* Leases as spin(1) sees them: leases.c, leases_request.c, leases_recover.c and what extents.c and names.c show, at small bounds.
 *
 * Two clients come in by one door, which pays for both.  Each says HELLO, is granted extents (one, or a run of two), gives
 * them back, publishes a name, takes a block of the other's, hangs up, comes back with the lease that it had, dies, begins
 * anew, and may then name the lease of its former life.  The daemon dies before and after any store into its tables, and
 * is started anew over what was stored; what it knew besides is gone.  A lease that is LOST runs out at any time.
 *
 * Shown, after every step:
 *	- an extent is granted once, and who lives, or is in its time of grace, has what it was told that it has;
 *	- a block that somebody took stays until he lets go or ends, whoever's extent it lies in, and is nobody's afterwards;
 *	- a lease is given back to nobody but its client, and to him unless its time ran out;
 *	- a name stays as long as its owner does, and lies in the owner's memory, or is gone;
 *	- all that is granted is paid for, within the quota, but for orphans that a restart found, and their lease's id taken;
 *	- when everybody has gone, nothing is left: no lease, no extent, no quarantine, no name, no held block, no debt.
 *
 *	spin -a lease.pml; cc -DSAFETY pan.c; ./a.out       no errors
 *	     -DNO_GENERATION   a lease that was given to another is given back to its former client
 *	     -DNO_GRACE        a daemon that is started anew takes back at once what its clients had
 *	     -DLATE_SHOW       a grant is answered before it is shown, and forgotten by the next daemon
 *	     -DBACK_LATE       a lease that is being recovered is given back
 *	     -DBLIND           a grant is taken back with a living client's block in it
 *	     -DNO_VISIT        what a dead client took of others' is forgotten, and is the next one's who gets its id
 *	     -DNAMES_LAST      extents are taken back before the names that lie in them
 *	     -DORPHANS_FREE    a grant that outlives its lease is on nobody's account
 *	     -DNO_PARDON       what a dead daemon granted by halves is never granted again
 *
 * tests/unit/models.py runs them all.
 */
#ifndef MOVES
#define MOVES 5 /* that both clients together make, besides leaving */
#endif
#ifndef DEATHS
#define DEATHS 1 /* of the daemon */
#endif
#define IDS     2
#define EXTENTS 3
#define QUOTA   3
#define CLIENTS 2

#define OWNER(id, g)   ((g) * IDS + (id) + 1) /* 0: nobody */
#define ID_OF(o)       (((o) - 1) % IDS)
#define GENERATION(o)  (((o) - 1) / IDS)

#define FREE       0
#define LIVE       1
#define LOST       2
#define RECOVERING 3

/* What an extent is: `what` of the table, in small. */
#define SINGLE     1
#define FIRST      2 /* of a run of two */
#define SECOND     3
#define QUARANTINE 4

/* What a client asks. */
#define NOTHING   0
#define HELLO     1
#define GET       2
#define PUT       3
#define PUBLISH   4
#define UNPUBLISH 5

/* ---- what outlives the daemon: its tables, and the words in blocks -------------------- */

byte shown_state[IDS], shown_generation[IDS]; /* one word */
byte shown_owner[EXTENTS], shown_what[EXTENTS];
byte shown_name, shown_at; /* owner, extent */
bool shown_torn;
byte held[EXTENTS]; /* a block in the grant that begins here is held by lease held - 1, and not by its owner */

/* ---- what it knows ---------------------------------------------------------------------- */

byte state[IDS], generation[IDS], recover_at[IDS];
byte owner[EXTENTS], what[EXTENTS];
byte name, name_at;
byte charged;
byte unpaid; /* orphans of which nobody knows whose they were */

/* ---- clients, and what they believe ------------------------------------------------------- */

byte conn[CLIENTS]; /* 0: none; 1: open; 2: with a lease; 3: hung up, and the daemon has not seen it */
byte asks[CLIENTS], asked[CLIENTS];
byte own[CLIENTS];    /* the lease that it believes to have */
byte former[CLIENTS]; /* that of its last life */
byte has[CLIENTS];    /* bits: extents */
byte took[CLIENTS];   /* bits: extents in which it holds a block of another's */
bool named[CLIENTS];
bool done[CLIENTS];

/* ---- ghosts ---------------------------------------------------------------------------------- */

byte given_to[IDS]; /* client that the lease was given to */
bool ran_out[IDS];  /* its time did */
byte deaths, moves;

#define ALIVE(o)     ((o) != 0 && generation[ID_OF(o)] == GENERATION(o) && (state[ID_OF(o)] == LIVE || state[ID_OF(o)] == LOST))
#define IS_ORPHAN(o) (generation[ID_OF(o)] != GENERATION(o) || state[ID_OF(o)] == FREE)
#define BEGINS(e)    (what[e] == SINGLE || what[e] == FIRST)
#define LENGTH(e)    (what[e] == FIRST -> 2 : 1)
/* Its entry tells whose they are: it is the last to be given to another. */
#define HAS_ORPHANS(id) (owner[0] == OWNER(id, generation[id]) || owner[1] == OWNER(id, generation[id]) || owner[2] == OWNER(id, generation[id]))
/* Does somebody who lives, other than lease `but`, hold a block there? */
#define IN_USE(e, but) (held[e] != 0 && held[e] - 1 != (but) && (state[held[e] - 1] == LIVE || state[held[e] - 1] == LOST))

#define CHECK_EXTENT(e) \
	assert(!(has[0] >> (e) & 1) || !ALIVE(own[0]) || owner[e] == own[0]); \
	assert(!(has[1] >> (e) & 1) || !ALIVE(own[1]) || owner[e] == own[1]); \
	assert(!(took[0] >> (e) & 1) || !ALIVE(own[0]) || (owner[e] != 0 && held[e] == ID_OF(own[0]) + 1)); \
	assert(!(took[1] >> (e) & 1) || !ALIVE(own[1]) || (owner[e] != 0 && held[e] == ID_OF(own[1]) + 1)); \
	assert(held[e] == 0 || state[held[e] - 1] != FREE); \
	assert(owner[e] == 0 || what[e] == SINGLE || what[e] == FIRST || what[e] == SECOND)

inline check()
{
	e = 0; n = 0; o = 0; id = 0; c = 0;
	CHECK_EXTENT(0);
	CHECK_EXTENT(1);
	CHECK_EXTENT(2);
	assert(own[0] == 0 || own[0] != own[1] || !ALIVE(own[0]));
	assert(!named[0] || !ALIVE(own[0]) || name == own[0]);
	assert(!named[1] || !ALIVE(own[1]) || name == own[1]);
	assert(name == 0 || (owner[name_at] == name && !IS_ORPHAN(name)));
	assert(charged <= QUOTA);
	assert(charged + unpaid == (owner[0] != 0) + (owner[1] != 0) + (owner[2] != 0))
}

/* ---- the daemon: stores, between which it may die ----------------------------------------------- */

inline maybe_die()
{
	if
	:: deaths < DEATHS -> deaths++; goto dead
	:: true
	fi
}

inline show_lease(id)
{
	maybe_die();
	shown_state[id] = state[id];
	shown_generation[id] = generation[id];
	maybe_die()
}

/* No owner, what, owner. */
inline show_extent(e)
{
	maybe_die();
	shown_owner[e] = 0;
	maybe_die();
	shown_what[e] = what[e];
	maybe_die();
	shown_owner[e] = owner[e]
}

inline show_name()
{
	maybe_die();
	shown_torn = true;
	maybe_die();
	shown_name = name;
	maybe_die();
	shown_at = name_at;
	maybe_die();
	shown_torn = false
}

inline show_grant(e)
{
	/* From the last to the first: without its beginning it is none. */
	if
	:: what[e] == FIRST -> show_extent(e + 1)
	:: else
	fi;
	show_extent(e)
}

inline pay(e, n)
{
	if
	:: nameless[e] -> unpaid = unpaid - n
	:: else -> charged = charged - n
	fi
}

inline take_back(e)
{
	n = LENGTH(e);
	pay(e, n);
	held[e] = 0;
	owner[e] = 0;
	what[e] = FREE;
	nameless[e] = false;
	if
	:: n == 2 -> owner[e + 1] = 0; what[e + 1] = FREE
	:: else
	fi;
	show_extent(e);
	if
	:: n == 2 -> show_extent(e + 1)
	:: else
	fi
}

/* ---- requests: the answer is what the client believes from then on --------------------------------- */

#define HEARS(c) (conn[c] == 1 || conn[c] == 2)

inline on_hello(c)
{
	o = asked[c];
	if
	:: o == 0 && (state[0] == FREE || state[1] == FREE) ->
		id = (state[0] == FREE && (state[1] != FREE || !HAS_ORPHANS(0) || HAS_ORPHANS(1)) -> 0 : 1);
#ifdef NO_GENERATION
		generation[id] = 1;
#else
		generation[id]++;
#endif
		state[id] = LIVE;
		o = OWNER(id, generation[id]);
		show_lease(id);
		given_to[id] = c;
		ran_out[id] = false;
		if
		:: HEARS(c) -> conn[c] = 2; own[c] = o; has[c] = 0; took[c] = 0; named[c] = false
		:: else
		fi;
		lease_of[c] = o
	:: o == 0 && state[0] != FREE && state[1] != FREE -> /* -EUSERS */
		goto refused
	:: o != 0 && ALIVE(o) && state[ID_OF(o)] == LIVE -> /* -EBUSY */
		goto refused
	:: o != 0 && ((ALIVE(o) && state[ID_OF(o)] == LOST)
#ifdef BACK_LATE
		|| (generation[ID_OF(o)] == GENERATION(o) && state[ID_OF(o)] == RECOVERING)
#endif
		) ->
		assert(given_to[ID_OF(o)] == c);
		state[ID_OF(o)] = LIVE;
		show_lease(ID_OF(o));
		if
		:: HEARS(c) -> conn[c] = 2; own[c] = o
		:: else
		fi;
		lease_of[c] = o
	:: else -> /* -ESTALE: it had better not believe in it any more */
		assert(generation[ID_OF(o)] != GENERATION(o) || ran_out[ID_OF(o)]);
		if
		:: HEARS(c) && own[c] == o -> own[c] = 0; has[c] = 0; took[c] = 0; named[c] = false
		:: else
		fi;
		goto refused
	fi
}

inline on_get(c)
{
	n = asked[c];
	e = EXTENTS;
	if
	:: n == 1 && owner[0] == 0 && what[0] == FREE -> e = 0
	:: n == 1 && owner[0] != 0 && owner[1] == 0 && what[1] == FREE -> e = 1
	:: n == 1 && owner[0] != 0 && owner[1] != 0 && owner[2] == 0 && what[2] == FREE -> e = 2
	:: n == 2 && what[1] == FREE && what[2] == FREE -> e = 1
	:: n == 2 && what[1] == FREE && what[2] != FREE && what[0] == FREE -> e = 0
	:: else
	fi;
	if
	:: e < EXTENTS && charged + n <= QUOTA ->
		assert(held[e] == 0);
		charged = charged + n;
		owner[e] = lease_of[c];
		what[e] = (n == 2 -> FIRST : SINGLE);
		if
		:: n == 2 -> owner[e + 1] = owner[e]; what[e + 1] = SECOND
		:: else
		fi;
#ifdef LATE_SHOW
		if
		:: HEARS(c) -> has[c] = has[c] | (n == 2 -> 3 : 1) << e
		:: else
		fi;
		show_grant(e)
#else
		show_grant(e);
		maybe_die();
		if
		:: HEARS(c) -> has[c] = has[c] | (n == 2 -> 3 : 1) << e
		:: else
		fi
#endif
	:: else
	fi
}

/* The client believes no more that it has the grant, until it hears that it must. */
inline on_put(c)
{
	e = asked[c];
	n = LENGTH(e);
	if
	:: owner[e] != lease_of[c] || !BEGINS(e)
	:: owner[e] == lease_of[c] && BEGINS(e) && name != 0 && name_at >= e && name_at < e + n -> /* -EBUSY */
		if
		:: HEARS(c) -> has[c] = has[c] | (n == 2 -> 3 : 1) << e
		:: else
		fi
	:: else -> take_back(e)
	fi
}

inline on_publish(c)
{
	e = asked[c];
	if
	:: name == 0 && owner[e] == lease_of[c] ->
		name = lease_of[c];
		name_at = e;
		show_name();
		maybe_die();
		if
		:: HEARS(c) -> named[c] = true
		:: else
		fi
	:: else
	fi
}

inline withdraw()
{
	name = 0;
	name_at = 0;
	show_name()
}

inline on_unpublish(c)
{
	if
	:: name == lease_of[c] -> withdraw()
	:: else
	fi
}

/* ---- recovery: one grant at a time ------------------------------------------------------------------ */

inline recover(id)
{
	e = recover_at[id];
	o = OWNER(id, generation[id]);
	if
#ifdef NAMES_LAST
	:: e == EXTENTS && name == o -> withdraw()
#else
	:: e == 0 && name == o -> withdraw()
#endif
	:: else
	fi;
	if
	:: e < EXTENTS ->
		recover_at[id]++;
		if
		:: owner[e] == o && BEGINS(e) ->
			if
#ifndef BLIND
			:: IN_USE(e, id) -> /* an orphan from now on */
#ifdef ORPHANS_FREE
				charged = charged - LENGTH(e)
#endif
#endif
			:: else -> take_back(e)
			fi
		:: owner[e] != 0 && owner[e] != o && BEGINS(e) ->
#ifndef NO_VISIT
			if
			:: held[e] == id + 1 -> held[e] = 0
			:: else
			fi;
#endif
			if
			:: IS_ORPHAN(owner[e]) && !IN_USE(e, IDS) -> take_back(e)
			:: else
			fi
		:: else
		fi
	:: else ->
		state[id] = FREE;
		show_lease(id);
		pardon()
	fi
}

/* What a daemon could not make out may be granted again when nobody is left whose it could be. */
inline pardon()
{
#ifndef NO_PARDON
	if
	:: state[0] == FREE && state[1] == FREE ->
		for (e : 0 .. EXTENTS - 1) {
			if
			:: what[e] == QUARANTINE -> what[e] = FREE; show_extent(e)
			:: else
			fi
		}
	:: else
	fi
#else
	skip
#endif
}

/* ---- a daemon is started anew -------------------------------------------------------------------------- */

inline read_leases()
{
	for (id : 0 .. IDS - 1) {
		generation[id] = shown_generation[id];
		state[id] = shown_state[id];
		recover_at[id] = 0;
		if
#ifdef NO_GRACE
		:: state[id] == LIVE || state[id] == LOST -> state[id] = RECOVERING
#else
		:: state[id] == LIVE -> state[id] = LOST
#endif
		:: else
		fi;
		shown_state[id] = state[id]
	}
}

/* A whole grant, or: without an owner it is free, with one it is doubtful. */
inline read_extents()
{
	for (e : 0 .. EXTENTS - 1) {
		owner[e] = shown_owner[e];
		what[e] = shown_what[e];
		nameless[e] = false
	}
	e = 0;
	do
	:: e < EXTENTS ->
		if
		:: owner[e] != 0 && what[e] == SINGLE -> e++
		:: owner[e] != 0 && what[e] == FIRST && e + 1 < EXTENTS && owner[e + 1] == owner[e] && what[e + 1] == SECOND -> e = e + 2
		:: else ->
			what[e] = (owner[e] == 0 && what[e] != QUARANTINE -> FREE : QUARANTINE);
			owner[e] = 0;
			e++
		fi
	:: else -> break
	od;
	for (e : 0 .. EXTENTS - 1) {
		shown_owner[e] = owner[e];
		shown_what[e] = what[e]
	}
}

/* Each pays for what its leases have and had; whose an orphan was is not known if the entry of its lease is another's. */
inline read_accounts()
{
	charged = 0;
	unpaid = 0;
	for (e : 0 .. EXTENTS - 1) {
		if
		:: owner[e] != 0 && generation[ID_OF(owner[e])] != GENERATION(owner[e]) -> unpaid++; nameless[e] = true
		:: owner[e] != 0 && generation[ID_OF(owner[e])] == GENERATION(owner[e]) -> charged++
		:: else
		fi
	}
}

inline read_names()
{
	name = shown_name;
	name_at = shown_at;
	if
	:: shown_torn || !ALIVE(name) || owner[name_at] != name -> name = 0; name_at = 0
	:: else
	fi;
	shown_name = name;
	shown_at = name_at;
	shown_torn = false
}

active proctype daemon()
{
	byte e, n, o, id, c;
	byte lease_of[CLIENTS];
	bool nameless[EXTENTS];

serving:
	do
	:: atomic {
		if
		:: asks[0] != NOTHING && conn[0] != 0 -> c = 0
		:: asks[1] != NOTHING && conn[1] != 0 -> c = 1
		fi;
		if
		:: asks[c] == HELLO -> on_hello(c)
		:: asks[c] == GET -> on_get(c)
		:: asks[c] == PUT -> on_put(c)
		:: asks[c] == PUBLISH -> on_publish(c)
		:: asks[c] == UNPUBLISH -> on_unpublish(c)
		fi;
		if
		:: false ->
refused:
			if
			:: conn[c] == 1 -> conn[c] = 0
			:: else
			fi
		:: else
		fi;
		asks[c] = NOTHING;
		asked[c] = 0;
		check()
	   }
	:: atomic { /* the end of a connection */
		if
		:: conn[0] == 3 && asks[0] == NOTHING -> c = 0
		:: conn[1] == 3 && asks[1] == NOTHING -> c = 1
		fi;
		conn[c] = 0;
		o = lease_of[c];
		lease_of[c] = 0;
		if
		:: o != 0 -> state[ID_OF(o)] = LOST; show_lease(ID_OF(o))
		:: else
		fi;
		check()
	   }
	:: atomic { /* a time is over */
		if
		:: state[0] == LOST -> id = 0
		:: state[1] == LOST -> id = 1
		fi;
		ran_out[id] = true;
		state[id] = RECOVERING;
		recover_at[id] = 0;
		show_lease(id);
		check()
	   }
	:: atomic {
		if
		:: state[0] == RECOVERING -> id = 0
		:: state[1] == RECOVERING -> id = 1
		fi;
		recover(id);
		check()
	   }
	:: atomic { /* a look at an orphan */
		if
		:: owner[0] != 0 && BEGINS(0) && IS_ORPHAN(owner[0]) && !IN_USE(0, IDS) -> e = 0
		:: owner[1] != 0 && BEGINS(1) && IS_ORPHAN(owner[1]) && !IN_USE(1, IDS) -> e = 1
		:: owner[2] != 0 && BEGINS(2) && IS_ORPHAN(owner[2]) && !IN_USE(2, IDS) -> e = 2
		fi;
		take_back(e);
		check()
	   }
	:: atomic {
		done[0] && done[1] && conn[0] == 0 && conn[1] == 0 && state[0] == FREE && state[1] == FREE &&
		!(owner[0] != 0 && !IN_USE(0, IDS)) && !(owner[1] != 0 && what[1] != SECOND && !IN_USE(1, IDS)) && !(owner[2] != 0 && what[2] != SECOND && !IN_USE(2, IDS)) ->
		for (e : 0 .. EXTENTS - 1) {
			assert(owner[e] == 0 && what[e] == FREE && held[e] == 0);
			assert(shown_owner[e] == 0 && shown_what[e] == FREE)
		}
		assert(name == 0 && shown_name == 0 && charged == 0 && unpaid == 0);
		break
	   }
	od;
	goto end;
dead:
	atomic {
		for (c : 0 .. CLIENTS - 1) {
			conn[c] = 0;
			asks[c] = NOTHING;
			asked[c] = 0;
			lease_of[c] = 0
		}
		read_leases();
		read_extents();
		read_names();
		read_accounts();
		pardon();
		check()
	}
	goto serving;
end:
	skip
}

/* ---- a client -------------------------------------------------------------------------------------------- */

inline forget(c)
{
	own[c] = 0;
	has[c] = 0;
	took[c] = 0;
	named[c] = false
}

inline hang_up(c)
{
	if
	:: conn[c] != 0 -> conn[c] = 3
	:: else
	fi
}

#define IDLE(c) (conn[c] == 2 && asks[c] == NOTHING)
#define OTHER   (1 - c)

/* The lowest: as grants are whole, the beginning of one. */
#define ONE_OF(bits) ((bits) & 1 -> 0 : ((bits) & 2 -> 1 : 2))

proctype client(byte c)
{
	byte e;

	do
	:: atomic { moves < MOVES && conn[c] == 0 -> moves++; conn[c] = 1; asks[c] = HELLO;
		if
		:: asked[c] = own[c]
		:: own[c] == 0 && former[c] != 0 -> asked[c] = former[c]
		fi }
	:: atomic { moves < MOVES && IDLE(c) -> moves++; asks[c] = GET;
		if
		:: asked[c] = 1
		:: asked[c] = 2
		fi }
	:: atomic { moves < MOVES && IDLE(c) && has[c] != 0 && !named[c] -> moves++; asks[c] = PUBLISH; asked[c] = ONE_OF(has[c]) }
	:: atomic { moves < MOVES && IDLE(c) && has[c] != 0 && held[ONE_OF(has[c])] == 0 ->
		moves++; asks[c] = PUT; e = ONE_OF(has[c]); asked[c] = e;
		has[c] = has[c] & ~((what[e] == FIRST -> 3 : 1) << e); e = 0 }
	:: atomic { moves < MOVES && IDLE(c) && named[c] -> moves++; named[c] = false; asks[c] = UNPUBLISH }
	:: atomic { moves < MOVES && ALIVE(own[c]) && ALIVE(own[OTHER]) && has[OTHER] != 0 && held[ONE_OF(has[OTHER])] == 0 ->
		moves++; e = ONE_OF(has[OTHER]); held[e] = ID_OF(own[c]) + 1; took[c] = took[c] | 1 << e; e = 0 }
	:: atomic { moves < MOVES && ALIVE(own[c]) && took[c] != 0 ->
		moves++; e = ONE_OF(took[c]); took[c] = took[c] & ~(1 << e); held[e] = 0; e = 0 }
	:: atomic { moves < MOVES && (conn[c] == 1 || conn[c] == 2) -> moves++; conn[c] = 3 }
	:: atomic { moves < MOVES && own[c] != 0 -> moves++; former[c] = own[c]; forget(c); hang_up(c) } /* it dies, and begins anew */
	:: atomic { conn[c] != 1 -> forget(c); former[c] = 0; hang_up(c); done[c] = true; break }
	od
}

init { atomic { run client(0); run client(1) } }
