import { DEFAULT_PREFIX } from '../redis/keys.ts'
import type {
  DeviceBoundOptions, EncryptionOptions, ForkDetectionOptions, NearCacheOptions, SecurityLogOptions, SessionOptions
} from './types.ts'

/** Default of every option that has a fixed one. */
export const DEFAULTS = {
  keyPrefix: DEFAULT_PREFIX,
  cookie: { secure: true, sameSite: 'lax', httpOnly: true, path: '/', partitioned: false },
  idleTimeout: '30m',
  absoluteTimeout: '7d',
  remember: { idleTimeout: '30d', absoluteTimeout: '90d' },
  bearer: false,
  maxSessionsPerUser: 1_000,
  onLimit: 'evict-oldest',
  maxDataSize: 65_536,
  nearCache: false,
  deviceBound: false,
  forkDetection: false,
  durability: 'default',
  events: 'broadcast',
  csrf: true,
  attempts: {
    network: { max: 100, within: '15m' },
    accountNetwork: { max: 10, within: '15m' },
    account: { max: 50, within: '30d' }
  },
  securityLog: false,
  pages: { login: '/login', home: '/' },
  decorators: {
    authenticate: 'authenticate',
    login: 'login',
    logout: 'logout',
    attemptLogin: 'attemptLogin',
    requireRecentLogin: 'requireRecentLogin',
    requireDeviceBound: 'requireDeviceBound',
    authenticatePage: 'authenticatePage',
    guestOnly: 'guestOnly',
    takeReturnPath: 'takeReturnPath',
    sessions: 'sessions',
    auth: 'auth',
    requireAuth: 'requireAuth'
  }
} as const satisfies Partial<SessionOptions>

/** Defaults of the members of `deviceBound`. `true` means these. */
export const DEVICE_BOUND_DEFAULTS = {
  maxAge: '10m', required: false, grace: '1m', onMismatch: 'refuse', bindExisting: true, ask: true
} as const satisfies DeviceBoundOptions

/** Defaults of the members of `forkDetection`. `true` means these. */
export const FORK_DETECTION_DEFAULTS = { onFork: 'report' } as const satisfies ForkDetectionOptions

/** Defaults of the members of `encryption`. */
export const ENCRYPTION_DEFAULTS = { acceptPlain: false } as const satisfies Partial<EncryptionOptions>

/** Defaults of the members of `securityLog`. */
export const SECURITY_LOG_DEFAULTS = { accounts: 'hmac' } as const satisfies SecurityLogOptions

/** Defaults of the members of `nearCache`. `true` means these. */
export const NEAR_CACHE_DEFAULTS = {
  maxEntries: 10_000, maxStale: '5s', invalidate: 'all'
} as const satisfies NearCacheOptions
