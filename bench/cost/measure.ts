import type { Redis } from 'ioredis'
import { infoNumber, median, quantile } from '../numbers.ts'
import type { Subject } from './servers.ts'
import type { Stage } from './stage.ts'
import type { Variant } from './variants.ts'

/** What one request cost in one round. CPU in microseconds. */
export interface Slice {
  micros: number
  rawMicros: number
  redisMicros: number
  commands: Record<string, number>
}

/** What a request costs a variant. */
export interface Cost {
  variant: Variant
  /** CPU of the server. */
  micros: number
  /** To raw Fastify with the same requests in the same moment: the median of all rounds, and the half of them in the middle. */
  ratio: number
  low: number
  high: number
  redisMicros: number
  commands: Record<string, number>
  rawMicros: number
}

export interface MeasureOptions {
  admin: Redis
  rounds: number
  /** Of one variant in one round. */
  requests: number
  /** Default all. */
  subjects?: readonly Subject[]
}

/** The slices of each variant. */
export type Slices = Map<Variant, Slice[]>

/**
 * CPU per request: each variant in its turn, and at the same time raw Fastify, which is asked the same requests on the
 * same core. A machine that is slower for a while is so for both, and what hits one turn alone is not in the median. In
 * each round the turns begin with another variant, and raw Fastify is another process.
 */
export async function measure ({ rawOf, subjects: all }: Stage, { admin, rounds, requests, subjects = all }: MeasureOptions): Promise<Slices> {
  const slices: Slices = new Map(subjects.map(({ variant }) => [variant, []]))
  for (let round = 0; round < rounds; round++) {
    const first = round % subjects.length
    for (const subject of [...subjects.slice(first), ...subjects.slice(0, first)]) {
      await subject.fill()
      slices.get(subject.variant)?.push(await slice(subject, { raw: rawOf(subject.variant, round), admin, requests }))
    }
  }
  return slices
}

async function slice (subject: Subject, { raw, admin, requests }: { raw: Subject, admin: Redis, requests: number }): Promise<Slice> {
  const before = await redisUse(admin)
  const [ownBefore, rawBefore] = [await subject.cpuMicros(), await raw.cpuMicros()]
  await Promise.all([subject.ask(requests), raw.answer(subject.rawExchanges, requests)])
  const [ownAfter, rawAfter] = [await subject.cpuMicros(), await raw.cpuMicros()]
  const after = await redisUse(admin)
  return {
    micros: (ownAfter - ownBefore) / requests,
    rawMicros: (rawAfter - rawBefore) / requests,
    redisMicros: (after.micros - before.micros) / requests,
    commands: commandsBetween(before, after, requests)
  }
}

export interface RedisUse { micros: number, calls: Record<string, number> }

/** What Redis has used and was asked so far, this question left out. */
export async function redisUse (admin: Redis): Promise<RedisUse> {
  const info = await admin.info('everything')
  const calls = [...info.matchAll(/^cmdstat_([\w|]+):calls=(\d+)/gm)].filter(([, name]) => name !== 'info')
  return {
    micros: 1e6 * (infoNumber(info, 'used_cpu_user') + infoNumber(info, 'used_cpu_sys')),
    calls: Object.fromEntries(calls.map(([, name = '', count]) => [name.toUpperCase(), Number(count)]))
  }
}

/** How often each command was sent per request. Connections that listen are pinged as time goes by, whatever is asked. */
export function commandsBetween (before: RedisUse, after: RedisUse, requests: number): Record<string, number> {
  return Object.fromEntries(Object.entries(after.calls).filter(([name]) => name !== 'PING').map(([name, calls]) => [name, (calls - (before.calls[name] ?? 0)) / requests]))
}

export function costOf (variant: Variant, slices: readonly Slice[]): Cost {
  const ratios = slices.map(({ micros, rawMicros }) => micros / rawMicros)
  const names = new Set(slices.flatMap(({ commands }) => Object.keys(commands)))
  const perRequest = [...names].map((name) => [name, round2(median(slices.map(({ commands }) => commands[name] ?? 0)))] as const)
  return {
    variant,
    micros: round2(median(slices.map(({ micros }) => micros))),
    ratio: round2(median(ratios)),
    low: round2(quantile(ratios, 0.25)),
    high: round2(quantile(ratios, 0.75)),
    redisMicros: round2(median(slices.map(({ redisMicros }) => redisMicros))),
    commands: Object.fromEntries(perRequest.filter(([, calls]) => calls > 0)),
    rawMicros: round2(median(slices.map(({ rawMicros }) => rawMicros)))
  }
}

export function round2 (value: number): number {
  return Math.round(100 * value) / 100
}
