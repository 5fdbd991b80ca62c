import { connectedMasters } from '../../redis/cluster.ts'
import { isCluster } from '../../redis/connection.ts'
import type { Client } from '../../redis/connection.ts'
import { isReply } from '../../redis/driver.ts'
import type { Keys } from '../../redis/keys.ts'
import type { RedisLink } from '../../redis/link.ts'
import type { Use } from '../../redis/needs.ts'
import { errors } from '../../errors.ts'
import { census } from './census.ts'
import type { Stored } from './census.ts'
import { finding, merged, refused } from './findings.ts'
import type { Finding } from './findings.ts'
import { nearCacheFindings } from './near-cache.ts'
import { rightsFindings } from './rights.ts'
import { serverFindings } from './server.ts'
import { storedFindings } from './stored.ts'
import { clockFindings, roundTripFindings } from './timing.ts'
import { topologyFindings } from './topology.ts'

/** The Redis to look at: a connection of this package's, that is ready. */
export interface Patient {
  readonly client: Client
  readonly link: RedisLink
  readonly keys: Keys
}

/** How to look. */
export interface DoctorOptions {
  /** What the application uses, of what needs rights of its own. */
  readonly uses: readonly Use[]
  /** The user of the ACL whose rights are checked. Default: the one of the connection. */
  readonly aclUser?: string | undefined
  /** Counts everything under the prefix, and takes no sample. Default: false. */
  readonly full?: boolean | undefined
  /** Ends the counting early. */
  readonly signal?: AbortSignal | undefined
  /** Called now and then, with how many keys were looked at, of how many. */
  readonly onProgress?: ((lookedAt: number, keys: number | null) => void) | undefined
}

/** What the doctor found. */
export interface Report {
  readonly findings: Finding[]
  /** What lies under the prefix. `null`: Redis refuses to tell. */
  readonly stored: Stored | null
}

/**
 * Looks whether a Redis is good for sessions, and says what to do where it is not. Writes nothing.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when Redis stops to answer
 */
export async function doctor (patient: Patient, options: DoctorOptions): Promise<Report> {
  const { client, link, keys } = patient
  const masters = connectedMasters(client)
  if (masters.length === 0) throw new errors.STORE_UNAVAILABLE({ cause: new Error('no master is connected') })
  const { uses } = options
  const needs = { prefix: keys.prefix, database: link.database, uses: [...uses, ...usesOf(patient)] }
  const looks = await Promise.allSettled(masters.map(async ([, server]) => [
    ...await serverFindings(server, uses.includes('durability')),
    ...await rightsFindings(server, needs, options.aclUser),
    ...await roundTripFindings(server)
  ]))
  const answering = masters.filter((_master, index) => looks[index]?.status === 'fulfilled')
  for (const look of looks) {
    if (look.status === 'fulfilled') continue
    // One of several that does not answer is a finding.
    if (answering.length === 0 || !(look.reason instanceof errors.STORE_UNAVAILABLE)) throw look.reason
  }
  const byServer = looks.flatMap((look, index) => {
    return look.status === 'fulfilled' ? [{ name: String(masters[index]?.[0]), findings: look.value }] : []
  })
  const findings = [
    ...merged(byServer),
    ...await topologyFindings(client, answering),
    ...await clockFindings(answering),
    ...await nearCacheFindings(link, keys, uses.includes('nearCache'))
  ]
  const { findings: more, stored } = await counted(patient, options)
  return { findings: [...findings, ...more], stored }
}

/** Counts what lies under the prefix, and says what it means. */
async function counted (patient: Patient, options: DoctorOptions): Promise<Report> {
  const { uses, full = false, signal, onProgress = () => {} } = options
  const isShared = uses.includes('expressSession')
  try {
    const stored = await census(patient, { full, isShared, signal, onProgress })
    const { prefix } = patient.keys
    return { findings: storedFindings(stored, { prefix, adopts: uses.includes('adopt') || isShared }), stored }
  } catch (error) {
    if (isCluster(patient.client) && error instanceof errors.STORE_UNAVAILABLE && !isReply(error.cause)) {
      // Not all of it: or there would be no findings by now.
      return { findings: [NOT_COUNTED], stored: null }
    }
    // Rights that counting needs as well: see what was found about rights.
    return { findings: [refused('sessions', 'counting what lies under the prefix', causeOf(error))], stored: null }
  }
}

const NOT_COUNTED = finding('problem', 'sessions', 'a part of the Cluster does not answer: what lies under the ' +
  'prefix was not counted', 'See what was found about the Cluster, and run the doctor again')

/** What Redis answered, where an error of ours was made of it. */
function causeOf (error: unknown): unknown {
  const { cause } = Object(error) as { cause?: unknown }
  return isReply(cause) ? cause : error
}

/** What the connection shows of what needs rights. */
function usesOf ({ client, link }: Patient): Use[] {
  return [...isCluster(client) ? ['cluster' as const] : [], ...link.database > 0 ? ['database' as const] : []]
}
