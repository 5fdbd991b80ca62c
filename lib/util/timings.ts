/*
 * Every limit of time in this package, in milliseconds: what it is for, and what it has to be smaller or greater than.
 * `test/util/timings.test.ts` checks that. Options and their bounds stand in lib/options.
 */

// What a request waits for

/** How long a request waits for the store, for all of its operations together. Greater than COMMAND_DEADLINE_MS. */
export const REQUEST_WAIT_MS = 600
/** How long a route has to sign out whose client has gone, before that is a use. Much greater than REQUEST_WAIT_MS. */
export const UNANSWERED_MS = 10_000
/** The least that one operation of a request gets, if the last was answered. Smaller than REQUEST_WAIT_MS. */
export const LEAST_WAIT_MS = 100
/** How long a readiness probe waits for the store. Between COMMAND_DEADLINE_MS and REQUEST_WAIT_MS. */
export const HEALTH_WAIT_MS = 550
/** How long `DELETE /sessions` waits before it answers 202. Smaller than REQUEST_WAIT_MS. */
export const REVOCATION_WAIT_MS = 500
/** How long live sessions are counted for one reply. Smaller than REQUEST_WAIT_MS. */
export const COUNT_MS = 400
/** How long a count of live sessions is shown. Greater than COUNT_MS: Redis has pauses. */
export const COUNTS_KEPT_MS = 5_000
/** How late a timer is when this process itself was too busy. Smaller than BUSY_GRACE_MS. */
export const LATE_TIMER_MS = 20
/** How much longer a busy process waits. With COMMAND_DEADLINE_MS at most REQUEST_WAIT_MS. */
export const BUSY_GRACE_MS = 100

// Starting up

/** How long starting up waits for Redis. At least COMMAND_DEADLINE_MS and CONNECT_TIMEOUT_MS. */
export const BOOT_WAIT_MS = 1_000
/** How soon a Redis that does not answer at boot is asked again. Smaller than BOOT_WAIT_MS. */
export const BOOT_RETRY_MS = 20
/** How long starting up waits for the near-cache, which begins whenever it can. Smaller than BOOT_WAIT_MS. */
export const NEAR_BOOT_WAIT_MS = 250

// Commands

/** How long one command of Redis may take. Greater than every limit of a part of it: SEARCH_MS, CONFIRM_MS. */
export const COMMAND_DEADLINE_MS = 500
/** How often a server that is down is asked whether it is back. Part of RESUME_MS. */
export const PROBE_EVERY_MS = 100
/** How long one call of a foreign store may take. Smaller than REQUEST_WAIT_MS. */
export const FOREIGN_CALL_MS = 500
/** How often a foreign store that is stuck is asked again. At most RESUME_MS. */
export const FOREIGN_PROBE_EVERY_MS = 500
/** How long a read waits for the answer to another, to share a command with more. Much smaller than LEAST_WAIT_MS. */
export const READ_TOGETHER_MS = 2
/** How long replicas have to confirm. A sign-in asks twice: smaller than half of REQUEST_WAIT_MS. */
export const CONFIRM_MS = 200
/** How long to search for the node of a Cluster that answers. Smaller than COMMAND_DEADLINE_MS. */
export const SEARCH_MS = 300
/** How soon to search again, also by the driver itself. Four times is smaller than SEARCH_MS. */
export const SEARCH_AGAIN_MS = 20

// Connections

/** How soon service resumes when Redis does, at the latest. A promise: the pauses on the way sum up to less. */
export const RESUME_MS = 2_000
/** How soon service resumes when a Cluster does, at the latest. A promise as well. */
export const CLUSTER_RESUME_MS = 6_000
/** How long connecting may take. Smaller than RESUME_MS. */
export const CONNECT_TIMEOUT_MS = 1_000
/** How long a socket may be silent while a command waits. Greater than COMMAND_DEADLINE_MS, and part of RESUME_MS. */
export const SOCKET_TIMEOUT_MS = 1_400
/** Pauses between attempts to connect: they grow by `stepMs`, up to `mostMs`. Part of RESUME_MS. */
export const RECONNECT = { stepMs: 50, mostMs: 250, jitterMs: 50 }
/**
 * The same for connections that only listen. No request waits for them, so those of hundreds of processes leave Redis
 * time for the others. With BUS_PING_EVERY_MS and SOCKET_TIMEOUT_MS smaller than SIGNAL_CHECK_EVERY_MS.
 */
export const LISTENER_RECONNECT = { stepMs: 50, mostMs: 250, jitterMs: 500 }
/** How soon a connection that the driver has given up is tried again. At most the longest pause of RECONNECT. */
export const GIVEN_UP_RETRY_MS = 100
/** How long closing waits for commands under way. At most COMMAND_DEADLINE_MS. */
export const QUIT_MS = 500
/** How long a connection that is left waits for the server to close it. Part of RESUME_MS. */
export const DISCONNECT_MS = 100
/** How soon TCP checks an idle connection. Greater than SOCKET_TIMEOUT_MS, which finds a dead one in use. */
export const KEEP_ALIVE_MS = 5_000
/**
 * How long a connection that left its server on purpose may be away before that is an outage. Greater than the longest
 * pause of RECONNECT.
 */
export const LEFT_MS = 1_000
/**
 * How long to stay with a server that takes no writes before leaving it again. Greater than LEFT_MS: else leaving it
 * again and again would never be an outage.
 */
export const STAY_MS = 1_500
/** How long a Sentinel may take to answer: the next one knows as well. Smaller than CONNECT_TIMEOUT_MS. */
export const SENTINEL_COMMAND_MS = 300
/** Pauses before all Sentinels are asked again. Smaller than RESUME_MS. */
export const SENTINEL_RETRY = { stepMs: 50, mostMs: 500 }
/** Pauses between attempts to listen to a Sentinel. Smaller than RESUME_MS. */
export const SENTINEL_RECONNECT = { stepMs: 100, mostMs: 1_000 }
/** Pauses between attempts to connect to a Cluster. Part of CLUSTER_RESUME_MS. */
export const CLUSTER_RECONNECT = { stepMs: 100, mostMs: 500 }
/** How often a Cluster is asked which node has which slots. Part of CLUSTER_RESUME_MS. */
export const SLOTS_REFRESH_EVERY_MS = 5_000
/** How long one node may take to answer that. Part of CLUSTER_RESUME_MS. */
export const SLOTS_REFRESH_MS = 200

// Clocks

/**
 * How far `Date` moves ahead of the monotonic clock when the machine was paused. With NEAR_SILENCE_MS smaller than the
 * default of `nearCache.maxStale`: a shorter pause is not noticed.
 */
export const PAUSE_MS = 1_000
/** How long the difference between our clock and Redis' is trusted. Greater than CLOCK_ANSWER_MS. */
export const CLOCK_TRUST_MS = 60_000
/** How long an answer of TIME may take: it is wrong by up to half of that. Smaller than LIST_SLACK_MS. */
export const CLOCK_ANSWER_MS = 100

// Hearing of what others change

/**
 * How long Redis may be silent before the near-cache is not trusted. Smaller than the default of `nearCache.maxStale`;
 * of a smaller `maxStale` it is a quarter.
 */
export const NEAR_SILENCE_MS = 1_000
/** How soon a Redis that refuses to tell what changes is asked again. Smaller than REFUSAL_QUIET_MS. */
export const TRACKING_RETRY_MS = 10_000
/** How often a subscriber is pinged. With SOCKET_TIMEOUT_MS smaller than SIGNAL_CHECK_EVERY_MS. */
export const BUS_PING_EVERY_MS = 2_000
/** How soon an end is told again of which it is not known whether Redis told the others. At least PROBE_EVERY_MS. */
export const TELL_AGAIN_MS = 100
/** For how long it is told again. The default of `nearCache.maxStale`: with it nobody keeps a copy for longer. */
export const TELLING_MS = 5_000
/** How often sessions with a signal are looked up, where no message of their end has come. */
export const SIGNAL_CHECK_EVERY_MS = 5_000
/** How long a refusal must not have been seen to be reported again. Greater than RETRY_EVERY_MS. */
export const REFUSAL_QUIET_MS = 60_000

// How sessions begin, move and end

/** How long a login may take from its first command to its last. Greater than all its commands, one after the other. */
export const PENDING_MS = 10_000
/**
 * How long the new id of a session that has moved is remembered, for whoever ends it by the old one: from a list that
 * was read before, or again after an outage. Much greater than REQUEST_WAIT_MS and MOVED_WAIT_MS.
 */
export const MOVED_MS = 3_600_000
/** How soon to look again for a session that is on its way. Smaller than MOVED_WAIT_MS and ADOPTION_WAIT_MS. */
export const LOOK_AGAIN_MS = 10
/** How long to look for a session that is on its way to another id. Smaller than REQUEST_WAIT_MS. */
export const MOVED_WAIT_MS = 200
/** How long to look for a session that another process adopts. Smaller than REQUEST_WAIT_MS. */
export const ADOPTION_WAIT_MS = 300
/**
 * How much longer a user's list keeps an id than its session lives, so that clocks and round trips hide no live one.
 * At least twice COMMAND_DEADLINE_MS: listing and touching are two commands. A touch that takes longer, in a process
 * that is busy or at a Redis that stood still, counts as earlier.
 */
export const LIST_SLACK_MS = 1_000
/** How long a user's list outlives its last session, for somebody to notice the end. Greater than LIST_SLACK_MS. */
export const LIST_GRACE_MS = 86_400_000
/**
 * How often the ends of sessions that failed are tried again, and how long one such try may take. At least
 * COMMAND_DEADLINE_MS.
 */
export const RETRY_EVERY_MS = 500
/** How long an account remembers a network that it signed in from. At least the default windows of `attempts`. */
export const KNOWN_NETWORK_MS = 30 * 86_400_000
/** How long somebody acts as a user, unless the sign-in says otherwise. Smaller than the default `absoluteTimeout`. */
export const ACTING_MS = 3_600_000

// Sessions that are bound to a device

/** How long after its registration requests of a session pass without the short cookie: they were under way. */
export const JUST_BOUND_MS = 30_000
/**
 * How much longer the short cookie is good than browsers keep it, for requests under way. Greater than REQUEST_WAIT_MS,
 * and much smaller than the least `deviceBound.maxAge`.
 */
export const DEVICE_OVERLAP_MS = 30_000

// Sessions that two browsers hold

/** The least time between two numbers of a twin cookie. Greater than TURN_REPLY_MS. */
export const TURN_EVERY_MS = 60_000
/** After this time a use gives the next number, however seldom uses of the session are written down else. */
export const TURN_LATEST_MS = 300_000
/** How late a reply may set a twin cookie: a later one could take back the next one. Smaller than TURN_EVERY_MS. */
export const TURN_REPLY_MS = 30_000

// The command line

/** How long an operator waits for one thing: connecting, subscribing, a series of PINGs. Greater than BOOT_WAIT_MS. */
export const OPERATOR_WAIT_MS = 3_000
/** How often a line of progress is written. Smaller than OPERATOR_WAIT_MS. */
export const PROGRESS_EVERY_MS = 100
/** Round trip to Redis from which on requests are noticeably slower. Smaller than COMMAND_DEADLINE_MS. */
export const SLOW_ROUND_TRIP_MS = 10
/** How soon a failover has to begin. Smaller than CLUSTER_RESUME_MS. */
export const NOTICED_WITHIN_MS = 5_000
