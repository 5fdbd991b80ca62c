import { connectedMasters } from '../../redis/cluster.ts'
import { isCluster } from '../../redis/connection.ts'
import type { Client } from '../../redis/connection.ts'
import type { Keys } from '../../redis/keys.ts'
import type { RedisLink } from '../../redis/link.ts'
import type { Use } from '../../redis/needs.ts'
import { errors } from '../../errors.ts'
import { merged } from './findings.ts'
import type { Finding } from './findings.ts'
import { nearCacheFindings } from './near-cache.ts'
import { rightsFindings } from './rights.ts'
import { serverFindings } from './server.ts'
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
}

/** What the doctor found. */
export interface Report {
  readonly findings: Finding[]
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
  const byServer = await Promise.all(masters.map(async ([name, server]) => {
    const findings = [
      ...await serverFindings(server, uses.includes('durability')),
      ...await rightsFindings(server, needs, options.aclUser),
      ...await roundTripFindings(server)
    ]
    return { name, findings }
  }))
  const findings = [
    ...merged(byServer),
    ...await topologyFindings(client, masters),
    ...await clockFindings(masters),
    ...await nearCacheFindings(link, keys, uses.includes('nearCache'))
  ]
  return { findings }
}

/** What the connection shows of what needs rights. */
function usesOf ({ client, link }: Patient): Use[] {
  return [...isCluster(client) ? ['cluster' as const] : [], ...link.database > 0 ? ['database' as const] : []]
}
