import type { ResolvedDeviceBound } from '../device/binding.ts'
import { isSessionStore } from '../session/store.ts'
import { durationMs } from '../util/duration.ts'
import { DEFAULTS, DEVICE_BOUND_DEFAULTS } from './defaults.ts'
import { attempted } from './faults.ts'
import type { Faults } from './faults.ts'
import type { SessionOptions } from './types.ts'

/** Chromium renews the short cookie when less than two minutes are left, and no more than some times in a row. */
const LEAST_MAX_AGE = '5m'
const MOST = '1h'

/** A path of a route, without what Fastify takes for a parameter, and without what ends a header's text. */
const PATH = /^(\/[\w.~-]+){1,20}$/

/** Resolves how sessions are bound to devices; `null`: not at all. */
export function deviceBoundOf (options: Partial<SessionOptions>, faults: Faults): ResolvedDeviceBound | null {
  const { deviceBound = false } = options
  if (deviceBound === false) return null
  const given = deviceBound === true ? {} : deviceBound
  const maxAgeMs = faults.duration('deviceBound.maxAge', given.maxAge ?? DEVICE_BOUND_DEFAULTS.maxAge)
  if (maxAgeMs < durationMs(LEAST_MAX_AGE) || maxAgeMs > durationMs(MOST)) {
    faults.add('deviceBound.maxAge', `must be from ${LEAST_MAX_AGE} to ${MOST}`)
  }
  const graceMs = faults.duration('deviceBound.grace', given.grace ?? DEVICE_BOUND_DEFAULTS.grace, { zero: true })
  if (graceMs > durationMs(MOST)) faults.add('deviceBound.grace', `must be at most ${MOST}`)
  const { required = DEVICE_BOUND_DEFAULTS.required, path = null } = given
  if (given.grace !== undefined && required === false) {
    faults.add('deviceBound.grace', 'needs deviceBound.required: otherwise no session has to be bound')
  }
  if (path !== null && !PATH.test(path)) {
    faults.add('deviceBound.path', 'must be a path such as /auth/device, of letters, digits and . _ ~ -')
  }
  addMeaningless(options, required !== false, faults)
  return {
    maxAgeMs,
    required: required === false ? null : required === true ? () => true : required,
    graceMs,
    revokes: (given.onMismatch ?? DEVICE_BOUND_DEFAULTS.onMismatch) === 'revoke',
    bindExisting: given.bindExisting ?? DEVICE_BOUND_DEFAULTS.bindExisting,
    asks: given.ask ?? DEVICE_BOUND_DEFAULTS.ask,
    path
  }
}

/** Adds what does not go together with `deviceBound`. */
function addMeaningless (
  { cookie = {}, store, expressSession }: Partial<SessionOptions>, isRequired: boolean, faults: Faults
): void {
  const { secure = DEFAULTS.cookie.secure, domain, partitioned = DEFAULTS.cookie.partitioned } = cookie
  const alone = (name: string, why: string): void => {
    faults.add('deviceBound', `cannot be given together with ${name}: ${why}`)
  }
  if (domain !== undefined) alone('cookie.domain', 'browsers renew its short cookie for one host alone')
  if (partitioned) alone('cookie.partitioned', 'browsers bind no such cookies')
  if (expressSession === 'share') alone('expressSession share', 'an Express app does not check it')
  const binds = attempted(() => store === undefined || !isSessionStore(store) || 'bind' in store, true)
  if (!binds) faults.add('deviceBound', 'needs a store that keeps the keys of devices: this one has no bind()')
  if (secure) return
  if (isRequired) faults.add('deviceBound.required', 'needs cookie.secure: browsers bind sessions over https alone')
  else faults.warn('deviceBound has no effect without cookie.secure: browsers bind sessions over https alone')
}
