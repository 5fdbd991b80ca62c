import type { TObject } from '@sinclair/typebox'
import type { SessionData } from '../http/session-data.ts'
import type { SecurityLogWriter } from '../session/security-log.ts'
import type { SessionStore } from '../session/store.ts'
import type { ExpressStore } from '../store/foreign.ts'
import type { RedisTarget } from '../store/open.ts'
import type { Duration } from '../util/duration.ts'

/*
 * The options, as applications give them. `npm run docs` makes the tables of docs/reference/ of these comments.
 * `schema.ts` checks the values, `defaults.ts` has the defaults; tests hold both equal to what stands here.
 */

/**
 * Options of `sessionPlugin`. Wrong ones fail at `register`, with one error that names all of them and shows no value.
 */
export interface SessionOptions {
  /**
   * **Required.** Secret that signs the cookie: 32 characters or more from a random source. Of an array the first signs
   * and all verify, so that a rotation signs nobody out. The others may be shorter, with a warning at boot.
   * @see [Rotation](docs/guides/rotation.md)
   */
  secret: string | readonly string[] | undefined
  /**
   * Redis that holds the sessions: a `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://` URL, options or a
   * client of ioredis, iovalkey, or node-redis 5 or 6, or `{ cluster: [{ host, port }], tls?, username?, password? }`.
   * The options of your client are copied, for a connection of the plugin's own. Your client is not used, and you close
   * it. A pool or a Sentinel client of node-redis hides its options: give these. Without `redis` and `store`, sessions
   * live in memory: a warning, and with `NODE_ENV=production` an error.
   * @see [Connecting to Redis](docs/guides/redis.md)
   */
  redis?: RedisTarget | undefined
  /**
   * Store to use in place of `redis`: a `MemoryStore`, a `RedisStore`, or any store for express-session. You close it.
   * @see [Other stores](docs/guides/other-stores.md)
   */
  store?: SessionStore | ExpressStore | undefined
  /**
   * Beginning of the keys in Redis: 1 to 128 printable characters without braces, the first not `@`. Two registrations
   * on one Redis need prefixes of which neither begins with the other. Goes with `redis`: a store has its own.
   * @default 'sess:'
   */
  keyPrefix?: string | undefined
  /**
   * Name of the cookie. An array renames it: the first name is written, all are read. Default: `__Host-sid` if the
   * cookie is `secure`, has the path `/` and no `domain`; else `sid`; with `expressSession: 'share'` it is
   * `connect.sid`. With `adopt`, that of the old cookie is read as well. In Chromium no script can set
   * `__Host-Http-sid`.
   * @see OWASP ASVS 5.0 3.3.1, 3.3.3
   * @see [Rotation](docs/guides/rotation.md)
   */
  cookieName?: string | string[] | undefined
  /** Attributes of the session cookie. */
  cookie?: CookieOptions | undefined
  /**
   * How long a session lives without use, in milliseconds or as `'30m'`. Must not be longer than `absoluteTimeout`.
   * @default '30m'
   * @see OWASP ASVS 5.0 7.3.1
   */
  idleTimeout?: Duration | undefined
  /**
   * How long a session lives in all, however busy it is, in milliseconds or as `'7d'`. Less than ten years. Browsers
   * keep no cookie longer than 400 days: more is warned of at boot, unless `bearer` is set.
   * @default '7d'
   * @see OWASP ASVS 5.0 7.3.2
   */
  absoluteTimeout?: Duration | undefined
  /**
   * Timeouts of sessions that begin with `remember: true`.
   * @default { idleTimeout: '30d', absoluteTimeout: '90d' }
   */
  remember?: RememberOptions | undefined
  /**
   * Level of NIST SP 800-63B-4 whose limits hold for every session. `'aal2'`: an hour without use, 24 hours in all.
   * `'aal3'`: 15 minutes, 12 hours. Longer defaults become that. Longer timeouts of yours are an error, at boot and at
   * every login. Not possible with `expressSession: 'share'`. Default: no limits.
   * @see NIST SP 800-63B-4 2.2.3, 2.3.3
   */
  assurance?: 'aal2' | 'aal3' | undefined
  /**
   * How often an unchanged session is extended, in milliseconds or as `'5m'`. Shorter than `idleTimeout`; 0 extends it
   * at every use, `false` never. A session can end that much before its idle timeout. Default: a tenth of
   * `idleTimeout`.
   */
  touchAfter?: Duration | false | undefined
  /**
   * Accepts `Authorization: Bearer` as well, for mobile apps and services. `authRoutes` then has `POST /token`. Not
   * possible with `expressSession: 'share'`.
   * @default false
   * @see RFC 6750
   * @see [Bearer tokens](docs/guides/bearer.md)
   */
  bearer?: boolean | undefined
  /**
   * How many sessions a user may have at a time. Those of bearer tokens do not count, nor do those with an `actor`.
   * `false`: any number, the default with a store for express-session. After you lower it, each login ends 100 sessions
   * at most.
   * @default 1000
   * @see OWASP ASVS 5.0 7.1.2
   */
  maxSessionsPerUser?: number | false | undefined
  /**
   * Effect of a login over that limit. `'evict-oldest'`: it ends the user's oldest session. `'reject'`: it fails with
   * 409 `ERR_SESSION_LIMIT_REACHED`.
   * @default 'evict-oldest'
   */
  onLimit?: 'evict-oldest' | 'reject' | undefined
  /**
   * Returns the user's id from the data of `request.session`, as JSON has it. A value that appears or changes is a
   * login, one that disappears a logout. A promise is a TypeError. Default: `data.userId`, or else `data.user.id` if it
   * is a string, a number or a bigint.
   * @see [Signing in](docs/guides/signing-in.md)
   */
  userIdFrom?: ((data: SessionData<Record<string, unknown>>) => unknown) | undefined
  /**
   * TypeBox object schema of the data in `request.session`. Stored keys that do not fit any more are dropped when the
   * session is used, with a log line that names them. Default: any data.
   * @see [Session data](docs/guides/session-data.md)
   */
  sessionSchema?: TObject | undefined
  /**
   * Returns today's form of all data of a session. Called in place of dropping keys, when stored data does not fit
   * `sessionSchema`.
   */
  migrate?: ((data: Record<string, unknown>) => Record<string, unknown>) | undefined
  /**
   * How many bytes the data of one session may have, as JSON in UTF-8: 1,024 to 16,777,216. A change that makes it
   * larger fails with 413 `ERR_SESSION_DATA_TOO_LARGE`, and the session stays as it was. Data that is larger already
   * can be read and may shrink.
   * @default 65536
   */
  maxDataSize?: number | undefined
  /**
   * How long devices and networks are remembered that a user signs in from, in milliseconds or as `'90d'`: the latest
   * 20 of each, as hashes. The event `created` then says `newDevice` and `newNetwork`. Default: not at all.
   * @see [Mail on a new device](docs/guides/devices.md#mail-on-a-new-device)
   */
  knownDevices?: Duration | undefined
  /**
   * Library of the application that this one replaces. Its sessions in the same Redis become ours on their first use,
   * with their data, and nobody is signed out. Needs `redis`, with the `keyPrefix` of connect-redis, and among `secret`
   * the old one, which may be short. Unless `cookieName` is given, reads the library's default cookie as well:
   * `connect.sid` or `sessionId`.
   * @see [Moving here](docs/migration/fastify-session.md)
   */
  adopt?: 'express-session' | '@fastify/session' | undefined
  /**
   * `'share'`: an Express app that uses express-session and connect-redis, and this one, use the same sessions, in one
   * Redis, under one cookie. Needs `redis`. `'adopt'` is the former name of `adopt: 'express-session'`.
   * @see [Beside an Express app](docs/guides/express.md)
   */
  expressSession?: 'share' | 'adopt' | undefined
  /**
   * Answers from this process's memory what was read a moment ago, and forgets it when Redis tells that it has changed.
   * `true`: with the defaults. Needs `redis` or a `RedisStore`; has no effect with a `MemoryStore`.
   * @default false
   * @see [Near-cache](docs/concepts/near-cache.md)
   */
  nearCache?: boolean | NearCacheOptions | undefined
  /**
   * How long it is remembered how a session ended, from `'1m'` to `'30d'`, such as `'1h'`. A refused request is then
   * told whether its session was signed out, revoked or replaced, or has run out. `used-after-end` tells of its use.
   * Needs a store that remembers ends: Redis, or memory. Not possible with `expressSession: 'share'`. Default: nothing
   * is remembered.
   * @see [Why was I signed out?](docs/guides/signed-out.md)
   */
  endedFor?: Duration | undefined
  /**
   * Binds sessions to the device that they begin on, in browsers that can (Device Bound Session Credentials, over
   * https): a copied cookie works for some minutes at most. `true`: with the defaults. Browsers that cannot are as they
   * are without it. Not possible with `expressSession: 'share'`, `cookie.domain` or `cookie.partitioned`.
   * @default false
   * @see [Bound to the device](docs/guides/device-bound.md)
   */
  deviceBound?: boolean | DeviceBoundOptions | undefined
  /**
   * Notices that two browsers use the cookie of one session, whatever browsers they are: by a second cookie, which
   * changes with use that is written down, then at least every five minutes. Both have to go on using it. `true`: with
   * the defaults. Not possible with `touchAfter: false` or `expressSession: 'share'`.
   * @default false
   * @see [Forked sessions](docs/guides/forked-sessions.md)
   */
  forkDetection?: boolean | ForkDetectionOptions | undefined
  /**
   * Confirmation of logins and logouts. `'default'`: when the master has it. `'replicated'`: when all replicas that
   * follow have it, at least one (`WAIT`), else it is answered 503; then the failure of the master undoes nothing.
   * @default 'default'
   * @see [Guarantees](docs/security/guarantees.md)
   */
  durability?: 'default' | 'replicated' | undefined
  /**
   * How processes tell each other who signs in and whose session ends. `'broadcast'`: one channel of Redis for all.
   * `'sharded'`: sixteen channels for ends, and sixteen for sign-ins. A process hears only what it listens to, and in a
   * Cluster a message stays in its shard. It is for many processes, which all need the same, and needs
   * `+spublish +ssubscribe`. `'both'`: for the time in which you change from one to the other. Goes with `redis`: a
   * `RedisStore` has its own.
   * @default 'broadcast'
   * @see [Many processes](docs/concepts/scale.md#many-processes)
   */
  events?: 'broadcast' | 'sharded' | 'both' | undefined
  /**
   * Encrypts the data of sessions in the store: `{ keys, acceptPlain? }`. Not possible with `expressSession`
   * and `adopt`. Default: data is stored as it is.
   * @see [Encryption](docs/guides/encryption.md)
   * @see OWASP ASVS 5.0 14.2.4
   */
  encryption?: EncryptionOptions | undefined
  /**
   * Origins whose pages may send unsafe requests, such as `https://app.example.com`, without a path. Pages of the
   * request's own protocol and host always may. Default: no others.
   * @see OWASP ASVS 5.0 3.5.1
   * @see [A front end on another origin](docs/guides/spa.md)
   */
  origins?: string[] | undefined
  /**
   * Refuses unsafe requests from other sites that carry the session cookie, and all logins and logouts from there, with
   * 403 `ERR_SESSION_CSRF_REJECTED`. Forms from there that would begin a visitor's session are refused as well.
   * `config: { session: { csrf: false } }` exempts a route.
   * @default true
   * @see OWASP ASVS 5.0 3.5.1
   * @see [Cookies and other sites](docs/concepts/cookies.md)
   */
  csrf?: boolean | undefined
  /**
   * Limits on failed logins, for `app.attemptLogin` and, if it has none of its own, `authRoutes`. `false`: no limits.
   * @see [Failed logins](docs/guides/rate-limits.md)
   * @see OWASP ASVS 5.0 6.3.1
   */
  attempts?: AttemptOptions | false | undefined
  /**
   * Logs sign-ins, ends, failed logins, uses after the end and the like, in the words of OWASP's logging vocabulary:
   * each is one entry, in the process where it happens. `true`: through `app.log`. A function gets each entry as an
   * object. No entry holds a token or data, and users are named by an HMAC.
   * @default false
   * @see [Security log](docs/security/log.md)
   * @see OWASP ASVS 5.0 16.3
   */
  securityLog?: boolean | SecurityLogWriter | SecurityLogOptions | undefined
  /**
   * Pages that the plugin sends browsers to: `{ login, home }`.
   * @see [Plain HTML forms](docs/guides/forms.md)
   */
  pages?: PagesOptions | undefined
  /**
   * Other names for `authenticate`, `login`, `logout`, `attemptLogin`, `requireRecentLogin`, `requireDeviceBound`,
   * `authenticatePage`, `guestOnly`, `takeReturnPath` and `sessions` of the instance, and `auth` and `requireAuth` of
   * requests. For applications that have these already. TypeScript learns them from `interface SessionDecorators`.
   * @see [Decorators](docs/reference/options.md#decorators)
   */
  decorators?: DecoratorOptions | undefined
}

/** Attributes of the session cookie. */
export interface CookieOptions {
  /**
   * Sends the cookie over https only. For plain http in development set it to `false`. Behind a TLS proxy set Fastify's
   * `trustProxy` instead: a login over what looks like plain http is an error.
   * @default true
   * @see OWASP ASVS 5.0 3.3.1
   */
  secure?: boolean | undefined
  /**
   * Requests from other sites that carry the cookie: `'lax'` only links, `'strict'` none, `'none'` all. `'none'` needs
   * `secure`.
   * @default 'lax'
   * @see OWASP ASVS 5.0 3.3.2
   */
  sameSite?: 'lax' | 'strict' | 'none' | undefined
  /**
   * Hides the cookie from the scripts of a page. `false` is warned of at boot.
   * @default true
   * @see OWASP ASVS 5.0 3.3.4
   */
  httpOnly?: boolean | undefined
  /**
   * Path under which browsers send the cookie, at most 1,024 characters. If you change it, change `cookieName` as well.
   * @default '/'
   */
  path?: string | undefined
  /**
   * Domain to whose hosts browsers send the cookie. Default: only the host that set it, which is safer. If you change
   * it, change `cookieName` as well.
   */
  domain?: string | undefined
  /**
   * Keeps the cookie apart for each site that embeds yours (CHIPS). Needs `secure`.
   * @default false
   */
  partitioned?: boolean | undefined
  /**
   * How long the browser keeps the cookie at most, in milliseconds or as `'1d'`. `false`: until it closes. Default: as
   * long as the session may live. Browsers keep no cookie longer than 400 days.
   */
  maxAge?: Duration | false | undefined
}

/** Timeouts of sessions that begin with `remember: true`. */
export interface RememberOptions {
  /**
   * How long such a session lives without use, in milliseconds or as `'30d'`.
   * @default '30d'
   */
  idleTimeout?: Duration | undefined
  /**
   * How long such a session lives in all, in milliseconds or as `'90d'`.
   * @default '90d'
   */
  absoluteTimeout?: Duration | undefined
}

/** Encryption of the data of sessions in the store, with AES-256-GCM. Ids, users, labels and `meta` stay readable. */
export interface EncryptionOptions {
  /**
   * Secrets of 32 characters or more. The first encrypts, all decrypt. A session whose key you take out has ended.
   */
  keys: string[]
  /**
   * Reads data that is not encrypted, too: for the time in which sessions from before can still live.
   * @default false
   */
  acceptPlain?: boolean | undefined
}

/** Sessions that a process keeps in its memory for a moment. */
export interface NearCacheOptions {
  /**
   * How many sessions a process keeps: 1 to 10,000,000. Each takes about 0.5 KB besides its data.
   * @default 10000
   */
  maxEntries?: number | undefined
  /**
   * How long a process may answer from its own copy, from `'1s'` to `'1m'`: the longest that a session revoked
   * elsewhere still works here, if the message of its end got lost.
   * @default '5s'
   */
  maxStale?: Duration | undefined
  /**
   * What processes are told of. `'all'`: every change, by Redis itself (`CLIENT TRACKING`). `'ends'`: only that a
   * session has ended, by the process that ended it. Then data that another process changed is seen within `maxStale`,
   * and a session that is only used costs the others nothing. For many processes, and where Redis cannot track. All
   * processes need the same. In a Cluster it needs `events: 'sharded'`. Not possible with `expressSession: 'share'`.
   * @default 'all'
   * @see [Only ends](docs/concepts/near-cache.md#only-ends)
   */
  invalidate?: 'all' | 'ends' | undefined
}

/** How sessions are bound to the device that they begin on. */
export interface DeviceBoundOptions {
  /**
   * How long the short cookie lives that the device renews, from `'5m'` to `'1h'`: as long, and half a minute, a copied
   * pair of cookies works. Chromium renews it when less than two minutes are left.
   * @default '10m'
   */
  maxAge?: Duration | undefined
  /**
   * Whether sessions have to be bound: `true`, or a function that returns `true` or `false` for a user's id, and no
   * promise. A session that is not is nobody's after `grace`: who has a browser that cannot bind it is not signed in.
   * Bearer tokens are left alone.
   * @default false
   */
  required?: boolean | ((userId: string) => boolean) | undefined
  /**
   * How long after a sign-in a session that has to be bound need not be yet: up to `'1h'`.
   * @default '1m'
   */
  grace?: Duration | undefined
  /**
   * Effect of a request without the device of its session. `'refuse'`: nobody is signed in by it, and the session goes
   * on for its owner. `'revoke'`: the session ends as well.
   * @default 'refuse'
   */
  onMismatch?: 'refuse' | 'revoke' | undefined
  /**
   * Asks browsers with their next page to bind a session that lives already, or began without being bound.
   * @default true
   */
  bindExisting?: boolean | undefined
  /**
   * `false`: no browser is asked, and sessions that are bound stay bound. For the first step of a deployment.
   * @default true
   * @see [Turn it on](docs/guides/device-bound.md#turn-it-on)
   */
  ask?: boolean | undefined
  /**
   * Path of the two routes that browsers call, below the prefix of the plugin's context. Default: `/device-bound`,
   * below `cookie.path`.
   */
  path?: string | undefined
}

/** How sessions are watched for a second browser that uses them. */
export interface ForkDetectionOptions {
  /**
   * Effect of a session that two browsers use, beside the event `session-forked`. `'report'`: none. `'reauthenticate'`:
   * `requireRecentLogin` refuses both until one of them signs in again. `'revoke'`: the session ends.
   * @default 'report'
   */
  onFork?: 'report' | 'reauthenticate' | 'revoke' | undefined
}

/** Limits on failed logins. A login over one of them is answered 429 `ERR_SESSION_TOO_MANY_ATTEMPTS`. */
export interface AttemptOptions {
  /**
   * From one network, whatever the account: an IPv4 address, or the first 64 bits of an IPv6 address. `false`: no
   * limit.
   * @default { max: 100, within: '15m' }
   */
  network?: AttemptLimitOptions | false | undefined
  /**
   * Of one account from one network. `false`: no limit.
   * @default { max: 10, within: '15m' }
   */
  accountNetwork?: AttemptLimitOptions | false | undefined
  /**
   * Of one account, from all networks except the newest 20 that it signed in from in the last 30 days. So nobody
   * elsewhere can lock people out of where they usually sign in. `false`: no limit.
   * @default { max: 50, within: '30d' }
   * @see NIST SP 800-63B-4 3.2.2
   */
  account?: AttemptLimitOptions | false | undefined
}

/** One limit on failed logins. */
export interface AttemptLimitOptions {
  /** How many logins may fail: 1 to 1,000. Default: that of the limit. */
  max?: number | undefined
  /** How long a failed login counts, in milliseconds or as `'15m'`. Default: that of the limit. */
  within?: Duration | undefined
}

/** Where the security log goes, and how it names users. */
export interface SecurityLogOptions {
  /**
   * Gets each entry. What it throws is logged once, and harms nobody. Default: `app.log`. A `SessionManager` without
   * Fastify needs a function.
   */
  write?: SecurityLogWriter | undefined
  /**
   * How users and accounts are named. `'hmac'`: by a keyed hash, which nobody can compute without `secret`. `'plain'`:
   * as they are. Some people type their password in place of their name.
   * @default 'hmac'
   */
  accounts?: 'hmac' | 'plain' | undefined
}

/** Pages that the plugin sends browsers to: paths of this site, which begin with one `/`, in ASCII. */
export interface PagesOptions {
  /**
   * Path of the page with the login form. People who are signed out go there.
   * @default '/login'
   */
  login?: string | undefined
  /**
   * Path of the page for people who are signed in. They go there if they asked for no other page.
   * @default '/'
   */
  home?: string | undefined
}

/** Names of what the plugin adds to the Fastify instance and to requests: identifiers, all different. */
export interface DecoratorOptions {
  /**
   * Name of `app.authenticate`.
   * @default 'authenticate'
   */
  authenticate?: string | undefined
  /**
   * Name of `app.login`.
   * @default 'login'
   */
  login?: string | undefined
  /**
   * Name of `app.logout`.
   * @default 'logout'
   */
  logout?: string | undefined
  /**
   * Name of `app.attemptLogin`.
   * @default 'attemptLogin'
   */
  attemptLogin?: string | undefined
  /**
   * Name of `app.requireRecentLogin`.
   * @default 'requireRecentLogin'
   */
  requireRecentLogin?: string | undefined
  /**
   * Name of `app.requireDeviceBound`.
   * @default 'requireDeviceBound'
   */
  requireDeviceBound?: string | undefined
  /**
   * Name of `app.authenticatePage`.
   * @default 'authenticatePage'
   */
  authenticatePage?: string | undefined
  /**
   * Name of `app.guestOnly`.
   * @default 'guestOnly'
   */
  guestOnly?: string | undefined
  /**
   * Name of `app.takeReturnPath`.
   * @default 'takeReturnPath'
   */
  takeReturnPath?: string | undefined
  /**
   * Name of `app.sessions`.
   * @default 'sessions'
   */
  sessions?: string | undefined
  /**
   * Name of `request.auth`.
   * @default 'auth'
   */
  auth?: string | undefined
  /**
   * Name of `request.requireAuth`.
   * @default 'requireAuth'
   */
  requireAuth?: string | undefined
}
