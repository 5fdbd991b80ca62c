/** What is not good for sessions in a server, and what to do. */
export interface Unsuitable {
  readonly topic: 'eviction' | 'role' | 'version'
  readonly found: string
  readonly todo: string
}

/** Oldest Redis that this package is tested with. Valkey calls itself 7.2 here. */
const OLDEST_VERSION = 7
/**
 * Eviction policies that keep every session that has not expired, or drop first what is nearest to its end. A user's
 * list ends with its last session.
 */
const SAFE_POLICIES = ['noeviction', 'volatile-ttl']

/** Returns the value of a field in the answer to INFO. */
export function infoField (info: string, name: string): string | undefined {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
}

/** Returns what makes a server unsuitable for sessions, by its answer to INFO. Fields that it lacks are no fault. */
export function unsuitable (info: string): Unsuitable[] {
  const faults: Unsuitable[] = []
  const policy = infoField(info, 'maxmemory_policy')
  if (policy !== undefined && !SAFE_POLICIES.includes(policy)) {
    faults.push({
      topic: 'eviction',
      found: `Redis' maxmemory-policy is ${policy}: it may drop sessions, and the lists by which users are ` +
        'signed out everywhere, before their time',
      todo: 'Set it to noeviction or volatile-ttl'
    })
  }
  if (infoField(info, 'role') === 'slave') {
    faults.push({
      topic: 'role',
      found: 'this Redis is a replica: nothing can be written to it, and what it tells may be out of date',
      todo: 'Connect to the master, or through Sentinel'
    })
  }
  const version = infoField(info, 'redis_version')
  if (version !== undefined && parseInt(version) < OLDEST_VERSION) {
    faults.push({
      topic: 'version',
      found: `this Redis is older than ${OLDEST_VERSION}.0, with which this package is tested`,
      todo: 'Update it'
    })
  }
  return faults
}
