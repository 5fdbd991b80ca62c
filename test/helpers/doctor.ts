import type { Test } from 'tap'
import { doctor } from '../../lib/operate/doctor/doctor.ts'
import type { DoctorOptions, Patient, Report } from '../../lib/operate/doctor/doctor.ts'
import { connect, disconnect } from '../../lib/redis/connection.ts'
import { Keys } from '../../lib/redis/keys.ts'
import { RedisLink } from '../../lib/redis/link.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'

/** How a test has a Redis looked at. */
export interface Visit extends Partial<DoctorOptions> {
  prefix?: string
  /** Waits for a refusal of Redis as for its answer. */
  isRefused?: boolean
}

/** A connection to a Redis that answers, for the doctor. */
export async function patientAt (t: Test, target: RedisTarget, { prefix = 'sess:', isRefused = false }: Visit = {}): Promise<Patient> {
  const { client } = connect(target)
  const link = new RedisLink(client)
  t.teardown(async () => {
    link.close()
    await disconnect(client)
  })
  await link.ready(10_000).catch((error: unknown) => { if (!isRefused) throw error })
  return { client, link, keys: new Keys(prefix) }
}

/** What the doctor says of a Redis. */
export async function examine (t: Test, target: RedisTarget, visit: Visit = {}): Promise<Report> {
  return await doctor(await patientAt(t, target, visit), { uses: [], ...visit })
}

/** What it says about one topic: the level and the text of each finding. */
export function about ({ findings }: Report, topic: string): string[] {
  return findings.filter((each) => each.topic === topic).map(({ level, found }) => `${level}: ${found}`)
}
