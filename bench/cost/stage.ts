import type { Redis } from 'ioredis'
import { NotThere } from '../lib.ts'
import { pin } from '../machine.ts'
import { infoNumber } from '../numbers.ts'
import { Subject, exchangesOf } from './servers.ts'
import { RAW } from './variants.ts'
import type { Variant } from './variants.ts'

export interface Stage {
  /** The same server several times: one process is a little faster than another. */
  raws: Subject[]
  subjects: Subject[]
  /** Why the others are not there. */
  missing: Map<Variant, string>
  /** On which core all of it is, Redis and the load as well; `null`: where the system puts it. */
  core: number | null
  stop: () => Promise<void>
}

export interface StageOptions {
  redis: { url: string, client: Redis }
  variants: readonly Variant[]
  sessions: number
  /** On one core, default. A profile is of time that goes by: there a write would last as long as whoever reads it. */
  pinned?: boolean
}

/** How many requests make a server as fast as it gets, more or less. */
const WARM_UP = 10_000
const RAWS = 2

/** Starts a server per variant, each in a process of its own, signs everybody in and lets all of them run warm. */
export async function setStage ({ redis, variants, sessions, pinned = true }: StageOptions): Promise<Stage> {
  const missing = new Map<Variant, string>()
  const raws = await Promise.all(Array.from({ length: RAWS }, async () => await Subject.start(RAW, redis.url)))
  const started = await Promise.all(variants.map(async (variant) => await Subject.start(variant, redis.url).catch((error: unknown) => {
    if (!(error instanceof NotThere)) throw error
    missing.set(variant, error.message)
    return null
  })))
  const subjects = started.filter((each) => each !== null)

  const headersOf = new Map<string, string[]>()
  // Who knows nobody borrows the sessions of those who do.
  for (const subject of [...subjects].sort(({ variant: { of } }) => of === 'nobody' ? 1 : -1)) {
    const { variant } = subject
    const headers = variant.sessions === null ? [] : headersOf.get(variant.sessions) ?? await subject.signIn(sessions)
    if (variant.sessions !== null) headersOf.set(variant.sessions, headers)
    subject.exchanges = exchangesOf(variant, headers)
    subject.rawExchanges = exchangesOf({ ...variant, of: 'nobody' }, headers)
    await subject.ask(WARM_UP)
    for (const raw of raws) await raw.answer(subject.rawExchanges, Math.ceil(2 * WARM_UP / subjects.length))
  }

  const redisPid = infoNumber(await redis.client.info('server'), 'process_id')
  const core = !pinned ? null : pin([process.pid, redisPid, ...[...raws, ...subjects].map(({ pid }) => pid)])
  const stop = async (): Promise<void> => { await Promise.all([...raws, ...subjects].map(async (each) => await each.stop())) }
  return { raws, subjects, missing, core, stop }
}
