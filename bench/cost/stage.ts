import type { Redis } from 'ioredis'
import { NotThere } from '../peers.ts'
import { pin } from '../machine.ts'
import { infoNumber } from '../numbers.ts'
import { Subject, exchangesOf } from './servers.ts'
import { RAW } from './variants.ts'
import type { Variant } from './variants.ts'

export interface Stage {
  /** The same server several times: one process is a little faster than another. Also in the Node that a peer needs. */
  raws: Subject[]
  subjects: Subject[]
  /** Why the others are not there. */
  missing: Map<Variant, string>
  /** On which core the servers are, and unless `apart` Redis and the load as well; `null`: where the system puts them. */
  core: number | null
  /** What a variant is compared with in a round: raw Fastify, in the same Node. */
  rawOf: (variant: Variant, round: number) => Subject
  stop: () => Promise<void>
}

export interface StageOptions {
  redis: { url: string, client: Redis }
  variants: readonly Variant[]
  sessions: number
  /** On one core, default. A profile is of time that goes by: there a write would last as long as whoever reads it. */
  pinned?: boolean
  /** Servers on a core of their own, load and Redis on another one. */
  apart?: boolean
  /** Servers that have served requests of other kinds before. */
  served?: boolean
}

/** How many requests make a server as fast as it gets, more or less. */
const WARM_UP = 10_000
const RAWS = 2

/**
 * Starts a server per variant, each in a process of its own, signs everybody in and lets all of them run warm. They have
 * served nothing but what they are measured with, unless `served`: code that has met other kinds of requests is slower.
 */
export async function setStage ({ redis, variants, sessions, pinned = true, apart = false, served = false }: StageOptions): Promise<Stage> {
  const missing = new Map<Variant, string>()
  const start = async (variant: Variant): Promise<Subject> => {
    const subject = await Subject.start(variant, redis.url)
    try {
      if (served) await subject.serveOthers()
      return subject
    } catch (error) {
      await subject.stop()
      throw error
    }
  }
  const started = await Promise.all(variants.map(async (variant) => await start(variant).catch((error: unknown) => {
    if (!(error instanceof NotThere)) throw error
    missing.set(variant, error.message)
    return null
  })))
  const subjects = started.filter((each) => each !== null)
  const nodes = new Set(subjects.map(({ variant }) => variant.node))
  const raws = await Promise.all([...nodes].flatMap((node) => Array.from({ length: RAWS }, async () => await start({ ...RAW, ...node !== undefined && { node } }))))

  const headersOf = new Map<string, string[]>()
  // Who knows nobody borrows the sessions of those who do.
  for (const subject of [...subjects].sort(({ variant: { of } }) => of === 'nobody' ? 1 : -1)) {
    const { variant } = subject
    const headers = variant.sessions === null ? [] : headersOf.get(variant.sessions) ?? await (variant.inMemory === true ? subject.signIn(sessions) : signInElsewhere(variant, redis.url, sessions))
    if (variant.sessions !== null) headersOf.set(variant.sessions, headers)
    subject.exchanges = exchangesOf(variant, headers)
    subject.rawExchanges = exchangesOf({ ...variant, of: 'nobody' }, headers)
    await subject.ask(WARM_UP)
    const compared = raws.filter((raw) => raw.variant.node === variant.node)
    const alike = subjects.filter((each) => each.variant.node === variant.node)
    for (const raw of compared) await raw.answer(subject.rawExchanges, Math.ceil(2 * WARM_UP / alike.length))
  }

  const redisPid = infoNumber(await redis.client.info('server'), 'process_id')
  const [others, servers] = [[process.pid, redisPid], [...raws, ...subjects].map(({ pid }) => pid)]
  const core = !pinned ? null : apart ? pin(servers) : pin([...others, ...servers])
  if (apart && (core === null || pin(others, 'first') === core)) throw new Error('needs taskset and two cores')
  const rawOf = ({ node }: Variant, round: number): Subject => {
    const same = raws.filter(({ variant }) => variant.node === node)
    // There is one for each Node.
    return same[round % same.length] as Subject
  }
  const stop = async (): Promise<void> => { await Promise.all([...raws, ...subjects].map(async (each) => await each.stop())) }
  return { raws, rawOf, subjects, missing, core, stop }
}

/** Signs everybody in by another server, which is gone then. */
async function signInElsewhere (variant: Variant, redis: string, sessions: number): Promise<string[]> {
  const subject = await Subject.start(variant, redis)
  try {
    return await subject.signIn(sessions)
  } finally {
    await subject.stop()
  }
}
