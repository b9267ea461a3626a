/* SPDX-License-Identifier: MIT */
/* A lane of a ring as spin(1) sees it: lane.h, ring_wait.c and the taking over of ring.c at small bounds.
 *
 * A lane has SLOTS words, a record takes one of them, and a position is a number of records.  What an end stores goes through a
 * buffer of its own, in order, and becomes visible some time later (total store order, as processors have it at least): so a
 * load may come before an older store of the same end is seen.  There is no fence in a send or in a release; who is about to
 * sleep has one (the buffer is empty), looks, and takes a short nap that is over only when the other end's buffer has been
 * emptied.  After that it sleeps until it is woken, here for ever: a lost wake-up is a state in which nothing can happen.
 *
 * The producer dies once, after any step, with what is in its buffer seen or not; then another one takes over.
 *
 * Shown: each record is read once, in order, with its own payload; nobody sleeps for ever.
 *
 *	spin -a -DSLOTS=2 -DRECORDS=3 ring.pml; cc -DSAFETY pan.c; ./a.out    no errors (nor with 3 and 4: 12 million states)
 *	                  -DNO_CLEAR                               an older lap's record is read: the clearing is needed
 *	                  -DNO_NAP                                 a wake-up is lost: the short nap is needed
 *
 * tests/unit/models.py runs all three.
 */
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef RECORDS
#define RECORDS 4
#endif
#define AT(position) ((position) % SLOTS)

/* Stores on their way: what (0 word, 1 payload, 2 position, 3 sleep of the consumer, 4 of the producer), where, value. */
#define BUFFER 3
chan of_producer = [BUFFER] of { byte, byte, byte };
chan of_consumer = [BUFFER] of { byte, byte, byte };

byte word[SLOTS];    /* 0: cleared; otherwise the tag of a committed record: its position in the lap's sense */
byte payload[SLOTS];
byte position;       /* of the consumer, as the producer sees it */
byte consumer_sleeps, producer_sleeps; /* numbers of sleeps; 0: awake */
bool consumer_bell, producer_bell;
bool may_die = true;
byte next_value = 1; /* of the record that is to be sent */

/* Tags repeat every two laps: a stale word of the lap before last looks like a fresh one.  The real ones repeat, too. */
#define TAG(p) (1 + (p) % (2 * SLOTS))

inline visible(what, where, value)
{
	if
	:: what == 0 -> word[where] = value
	:: what == 1 -> payload[where] = value
	:: what == 2 -> position = value
	:: what == 3 -> consumer_sleeps = value
	:: what == 4 -> producer_sleeps = value
	fi
}

active proctype memory()
{
	byte what, where, value;

end:
	do
	:: atomic { of_producer ? what, where, value -> visible(what, where, value) }
	:: atomic { of_consumer ? what, where, value -> visible(what, where, value) }
	od
}

/* ---- the producer ----------------------------------------------------------------- */

/* Death: what is in the store buffer has left the core or not; the rest never will. */
inline maybe_die()
{
	if
	:: atomic { may_die -> may_die = false; goto dead }
	:: true
	fi
}

inline wake_consumer()
{
	/* A load that may come before the store above it is visible: that is still in the buffer.  Waking is an atomic
	 * addition, which empties it. */
	if
	:: atomic { consumer_sleeps != 0 && consumer_sleeps != rung -> asleep = consumer_sleeps };
		empty(of_producer);
		atomic { rung = asleep; consumer_bell = true }
	:: else
	fi
}

active proctype producer()
{
	byte tail, seen, rung, number, asleep;
	byte a, b, c;

start:
	/* Take over: go on behind the last committed record.  What was in the dead one's buffer is visible by now: its
	 * death was noticed long after. */
	atomic { empty(of_producer) -> tail = position; seen = position; rung = 0; producer_sleeps = 0; producer_bell = false }
	do
	:: word[AT(tail)] == TAG(tail) && tail - seen < SLOTS -> tail++
	:: else -> break
	od;
	/* The next record to send is the first one that is not in the ring: its sender asks the ring. */
	next_value = tail + 1;
	do
	:: next_value > RECORDS -> break
	:: else ->
		/* Room for the record and the cleared word behind it. */
		do
		:: tail + 2 - seen <= SLOTS -> break
		:: else ->
			seen = position;
			if
			:: tail + 2 - seen <= SLOTS -> break
			:: else ->
				maybe_die();
				/* Sleep. */
				number++;
				producer_bell = false;
				of_producer ! 4, 0, number;
				empty(of_producer);
				if
				:: tail + 2 - position <= SLOTS
				:: else ->
#ifndef NO_NAP
					if
					:: producer_bell
					:: empty(of_consumer)
					fi;
					if
					:: tail + 2 - position <= SLOTS
					:: else -> (producer_bell)
					fi
#else
					(producer_bell)
#endif
				fi;
				of_producer ! 4, 0, 0
			fi
		od;
		maybe_die();
		of_producer ! 1, AT(tail), next_value;
		maybe_die();
#ifndef NO_CLEAR
		of_producer ! 0, AT(tail + 1), 0;
		maybe_die();
#endif
		of_producer ! 0, AT(tail), TAG(tail);
		tail++;
		next_value++;
		maybe_die();
		wake_consumer()
	od;
	goto done;
dead:
	/* Its buffer may be lost at any point: what is still in it may never be seen. */
	atomic {
		if
		:: true
		:: do
		   :: nempty(of_producer) -> of_producer ? a, b, c
		   :: empty(of_producer) -> break
		   od
		fi
	};
	/* Death is told to a sleeper by its next look, after a nap that is bounded: modelled as a bell. */
	consumer_bell = true;
	goto start;
done:
	skip
}

/* ---- the consumer ------------------------------------------------------------------ */

inline wake_producer()
{
	if
	:: atomic { producer_sleeps != 0 && producer_sleeps != rung -> asleep = producer_sleeps };
		if
		:: said != pos -> of_consumer ! 2, 0, pos; said = pos
		:: else
		fi;
		empty(of_consumer);
		atomic { rung = asleep; producer_bell = true }
	:: else
	fi
}

active proctype consumer()
{
	byte pos, said, rung, number, got, loaded, asleep;

	do
	:: pos == RECORDS -> break
	:: else ->
		loaded = word[AT(pos)];
		if
		:: loaded == TAG(pos) ->
			got = payload[AT(pos)];
			/* The right one, whole, once. */
			assert(got == pos + 1);
			pos++;
			/* It says how far it is now and then. */
			if
			:: of_consumer ! 2, 0, pos; said = pos
			:: true
			fi;
			wake_producer()
		:: loaded != TAG(pos) ->
			/* A word that is committed and not this one would poison the lane. */
			assert(loaded == 0 || pos == 0);
			if
			:: said != pos -> of_consumer ! 2, 0, pos; said = pos; wake_producer()
			:: else
			fi;
			/* Sleep. */
			number++;
			consumer_bell = false;
			of_consumer ! 3, 0, number;
			empty(of_consumer);
			if
			:: word[AT(pos)] == TAG(pos)
			:: else ->
#ifndef NO_NAP
				if
				:: consumer_bell
				:: empty(of_producer)
				fi;
				if
				:: word[AT(pos)] == TAG(pos)
				:: else -> (consumer_bell)
				fi
#else
				(consumer_bell)
#endif
			fi;
			of_consumer ! 3, 0, 0
		fi
	od
}
