import type { Redis } from 'ioredis'
import { infoNumber, median, quantile } from '../numbers.ts'
import type { Subject } from './servers.ts'
import type { Stage } from './stage.ts'
import type { Variant } from './variants.ts'

/** What one request cost in one round. CPU in microseconds. */
interface Slice {
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

/**
 * CPU per request, by turns: raw Fastify, a variant, raw Fastify, the next variant, in each round beginning with another
 * one. Raw Fastify is asked with the requests of the variant it stands beside. A machine that is slower for a while is
 * so for both, and what hits one turn alone is not in the median.
 */
export async function measure ({ raw, subjects: all }: Stage, { admin, rounds, requests, subjects = all }: MeasureOptions): Promise<Cost[]> {
  const slices = new Map<Subject, Slice[]>(subjects.map((subject) => [subject, []]))
  for (let round = 0; round < rounds; round++) {
    const first = round % subjects.length
    for (const subject of [...subjects.slice(first), ...subjects.slice(0, first)]) {
      slices.get(subject)?.push(await slice(subject, { raw, admin, requests }))
    }
  }
  return subjects.map((subject) => costOf(subject.variant, slices.get(subject) ?? []))
}

async function slice (subject: Subject, { raw, admin, requests }: { raw: Subject, admin: Redis, requests: number }): Promise<Slice> {
  const half = Math.ceil(requests / 2)
  const rawBefore = await cpuMicros(raw, async () => await raw.answer(subject.rawExchanges, half))
  const before = await redisUse(admin)
  const micros = await cpuMicros(subject, async () => await subject.ask(requests))
  const after = await redisUse(admin)
  const rawAfter = await cpuMicros(raw, async () => await raw.answer(subject.rawExchanges, half))
  return {
    micros: micros / requests,
    rawMicros: (rawBefore + rawAfter) / (2 * half),
    redisMicros: (after.micros - before.micros) / requests,
    commands: Object.fromEntries(Object.entries(after.calls).map(([name, calls]) => [name, (calls - (before.calls[name] ?? 0)) / requests]))
  }
}

async function cpuMicros (subject: Subject, work: () => Promise<void>): Promise<number> {
  const before = await subject.cpuMicros()
  await work()
  return await subject.cpuMicros() - before
}

interface RedisUse { micros: number, calls: Record<string, number> }

/** What Redis has used and was asked so far, this question left out. */
async function redisUse (admin: Redis): Promise<RedisUse> {
  const info = await admin.info('everything')
  const calls = [...info.matchAll(/^cmdstat_([\w|]+):calls=(\d+)/gm)].filter(([, name]) => name !== 'info')
  return {
    micros: 1e6 * (infoNumber(info, 'used_cpu_user') + infoNumber(info, 'used_cpu_sys')),
    calls: Object.fromEntries(calls.map(([, name = '', count]) => [name.toUpperCase(), Number(count)]))
  }
}

function costOf (variant: Variant, slices: readonly Slice[]): Cost {
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

function round2 (value: number): number {
  return Math.round(100 * value) / 100
}
