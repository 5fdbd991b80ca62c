import type { Redis } from 'ioredis'

/** The oldest Redis that this package is tested with. Valkey calls itself 7.2 here. */
const OLDEST = 7
/** Keep what has not expired; `volatile-ttl` takes what is nearest to its end, and a list ends with its last session. */
const SAFE_POLICIES = ['noeviction', 'volatile-ttl']

/**
 * What a server says of itself that is not good for sessions, in words that say what to do. Reads INFO
 * alone; a server that does not tell is not asked twice.
 */
export async function unsuitable (server: Pick<Redis, 'info'>): Promise<string[]> {
  const info = await server.info().catch(() => '')
  const said = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
  const warnings: string[] = []
  const policy = said('maxmemory_policy')
  if (policy !== undefined && !SAFE_POLICIES.includes(policy)) {
    warnings.push(`Redis' maxmemory-policy is ${policy}: it may drop sessions, and the lists by which users are signed out everywhere, before their time. Set it to noeviction or volatile-ttl`)
  }
  if (said('role') === 'slave') warnings.push('this Redis is a replica: nothing can be written to it, and what it tells may be out of date. Connect to the master, or through Sentinel')
  const version = said('redis_version')
  if (version !== undefined && parseInt(version) < OLDEST) warnings.push(`this Redis is older than ${OLDEST}.0, with which this package is tested: update it`)
  return warnings
}
