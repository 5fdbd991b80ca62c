import { infoField, unsuitable } from '../../redis/suitability.ts'
import { finding, ok, short, refused } from './findings.ts'
import type { Finding, Server } from './findings.ts'

/** How full a server may be, of its maxmemory, before that is a warning, and before it is a problem. */
const FULL = { warning: 0.8, problem: 0.95 }
/** How far a replica may be behind, in seconds and in bytes. */
const BEHIND = { seconds: 10, bytes: 1_000_000 }

const SIGNED_OUT = 'when Redis starts empty, everybody is signed out'

/** Looks at one server, by what INFO says. `needsReplicas`: the application waits for replicas. */
export async function serverFindings (server: Server, needsReplicas: boolean): Promise<Finding[]> {
  let info: string
  try {
    info = await server.info()
  } catch (error) {
    return [refused('server', 'INFO', error)]
  }
  const fieldOf = (name: string): string | undefined => infoField(info, name)
  const save = await settingOf(server, 'save')
  return [
    product(fieldOf),
    ...role(fieldOf),
    ...eviction(fieldOf),
    memory(fieldOf),
    ...persistence(fieldOf, save),
    ...replicas(fieldOf, needsReplicas),
    ...save === null ? [NO_CONFIG] : [],
    ...unsuitable(info).map(({ topic, found, todo }) => {
      return finding(topic === 'eviction' ? 'warning' : 'problem', topic, found, todo)
    })
  ]
}

type FieldOf = (name: string) => string | undefined

const NO_CONFIG = finding('note', 'settings', 'CONFIG GET is refused, as many services do: some settings are not known',
  'Look at the settings of your service: save, cluster-node-timeout')

/** Returns a setting of the server. `null` where CONFIG is refused, renamed or unknown. */
export async function settingOf (server: Server, name: string): Promise<string | null> {
  try {
    const answer = await server.call('CONFIG', 'GET', name)
    return Array.isArray(answer) ? String(answer[1] ?? '') : String((Object(answer) as Record<string, unknown>)[name])
  } catch (error) {
    // Throws where it is no answer of Redis.
    refused('settings', 'CONFIG GET', error)
    return null
  }
}

/** Fields of INFO by which products that speak Redis' protocol are told apart. */
const OTHERS = [['dragonfly_version', 'Dragonfly'], ['garnet_version', 'Garnet'], ['mvcc_depth', 'KeyDB']] as const

/** The product and its version. */
function product (fieldOf: FieldOf): Finding {
  const version = short(fieldOf('redis_version') ?? '')
  const valkey = fieldOf('valkey_version')
  if (valkey !== undefined) return ok('version', `Valkey ${short(valkey)}, which calls itself Redis ${version}`)
  const [field = '', name] = OTHERS.find(([field]) => fieldOf(field) !== undefined) ?? []
  if (name !== undefined) {
    const own = name === 'KeyDB' ? version : short(fieldOf(field) ?? '')
    return finding('note', 'version', `${name} ${own}, with which this package is not tested`,
      'Try a sign-in and a sign-out on a test system, or use Redis or Valkey')
  }
  if (version !== '') return ok('version', `Redis ${version}`)
  return finding('note', 'version', 'it does not say which Redis it is', 'See docs/guides/managed-redis.md')
}

function role (fieldOf: FieldOf): Finding[] {
  if (fieldOf('loading') === '1') {
    return [finding('problem', 'role', 'Redis is loading its data: until then it answers nothing',
      'Wait, and run the doctor again')]
  }
  if (fieldOf('role') === 'slave' && fieldOf('master_link_status') !== 'up') {
    return [finding('problem', 'role', 'this replica has lost its master', 'See whether the master runs')]
  }
  if (fieldOf('redis_mode') === 'sentinel') {
    return [finding('problem', 'role', 'this is a Sentinel, which holds no sessions',
      'Give its address as one of a Sentinel, with the name of the master')]
  }
  return fieldOf('role') === 'master' ? [ok('role', 'it is a master')] : []
}

function eviction (fieldOf: FieldOf): Finding[] {
  const policy = fieldOf('maxmemory_policy')
  const evicted = Number(fieldOf('evicted_keys') ?? 0)
  const findings: Finding[] = []
  if (policy === undefined) {
    findings.push(finding('note', 'eviction', 'the eviction policy is not known',
      'Look at your service: it has to be noeviction or volatile-ttl'))
  } else if (policy === 'noeviction' || policy === 'volatile-ttl') {
    findings.push(ok('eviction', `maxmemory-policy is ${policy}`))
  }
  if (evicted > 0) {
    findings.push(finding('warning', 'eviction', `Redis was full and has dropped ${evicted} keys since it started: ` +
      'some may have been sessions', 'Give it more memory, or move what is not a session to another Redis'))
  }
  return findings
}

function memory (fieldOf: FieldOf): Finding {
  const used = Number(fieldOf('used_memory') ?? NaN)
  const limit = Number(fieldOf('maxmemory') ?? NaN)
  if (Number.isNaN(used) || Number.isNaN(limit)) {
    return finding('note', 'memory', 'it does not say how much memory it has', 'Look at your service')
  }
  if (limit === 0) {
    return finding('note', 'memory', `${bytes(used)} used, and no limit: the system may end a Redis that grows`,
      'Set maxmemory. Then a full Redis refuses sign-ins, and keeps those who are signed in')
  }
  const share = used / limit
  const found = `${bytes(used)} of ${bytes(limit)} used (${Math.round(share * 100)} %)`
  if (share < FULL.warning) return ok('memory', found)
  const level = share < FULL.problem ? 'warning' : 'problem'
  return finding(level, 'memory', `${found}: when it is full, nobody can sign in`,
    'Give it more memory, or shorten idleTimeout and what you store in sessions')
}

/** Returns a number of bytes for people. */
export function bytes (count: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB']
  const unit = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, count)) / 3))
  const value = count / 1000 ** unit
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** `save`: the setting; `null` where it is not known. */
function persistence (fieldOf: FieldOf, save: string | null): Finding[] {
  const findings: Finding[] = []
  const [aof, snapshots] = [fieldOf('aof_enabled') === '1', save !== null && save !== '']
  if (fieldOf('rdb_last_bgsave_status') === 'err' || fieldOf('aof_last_write_status') === 'err' ||
    fieldOf('aof_last_bgrewrite_status') === 'err') {
    findings.push(finding('problem', 'persistence', 'Redis could not save to its disk the last time it tried: ' +
      'it may refuse writes, and nobody can sign in',
    'Look at the log of Redis: is its disk full, may it write there?'))
  }
  if (aof) return [...findings, ok('persistence', 'the append-only file is on')]
  const hasReplicas = Number(fieldOf('connected_slaves') ?? 0) > 0
  if (snapshots) {
    findings.push(finding('note', 'persistence', 'snapshots only: a restart loses the last sign-ins, and sessions ' +
      'that were just signed out may live again', 'Switch on the append-only file: appendonly yes'))
  } else if (save === null) {
    findings.push(finding('note', 'persistence', 'no append-only file, and it is not known whether it takes ' +
      `snapshots: ${SIGNED_OUT}`, 'Look at the persistence of your service'))
  } else {
    findings.push(finding(hasReplicas ? 'note' : 'warning', 'persistence', `nothing is saved to disk: ${SIGNED_OUT}`,
      'Switch on the append-only file (appendonly yes)' + (hasReplicas ? '' : ', or have a replica that takes over')))
  }
  return findings
}

function replicas (fieldOf: FieldOf, isNeeded: boolean): Finding[] {
  if (fieldOf('role') !== 'master') return []
  const count = Number(fieldOf('connected_slaves') ?? 0)
  if (count === 0) {
    if (!isNeeded) {
      return [finding('note', 'replicas', 'no replica follows: when this server is lost, so are its sessions',
        'Have a replica that takes over, where that matters')]
    }
    return [finding('problem', 'replicas', 'no replica follows: with durability replicated, signing in and out is ' +
      'answered 503 until one does', 'Start a replica, or see why it lost its master')]
  }
  const offset = Number(fieldOf('master_repl_offset') ?? 0)
  const late = Array.from({ length: count }, (_, index) => fieldOf(`slave${index}`) ?? '').flatMap((line) => {
    const parts = new Map(line.split(',').map((part) => part.split('=') as [string, string]))
    const name = short(`${parts.get('ip')}:${parts.get('port')}`)
    const lag = Number(parts.get('lag'))
    const missing = offset - Number(parts.get('offset'))
    if (parts.get('state') !== 'online') return [`${name} is not in step yet (${short(parts.get('state') ?? '?')})`]
    if (lag >= BEHIND.seconds) return [`${name} was last heard of ${lag} s ago`]
    return missing > BEHIND.bytes ? [`${name} is ${bytes(missing)} behind`] : []
  })
  if (late.length === 0) return [ok('replicas', `${count} ${count === 1 ? 'replica follows' : 'replicas follow'}`)]
  return late.map((found) => finding('warning', 'replicas', `a replica is behind: ${found}`,
    'Until it is in step, a failover loses sign-ins and brings back sessions that ended. See its log'))
}
