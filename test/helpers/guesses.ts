import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Test } from 'tap'
import { authRoutes, MemoryStore } from '../../lib/index.ts'
import type { AuthRoutesOptions, SessionOptions } from '../../lib/index.ts'
import { startApp } from './app.ts'
import { prefix } from './redis.ts'
import type { TestRedis } from './redis.ts'
import { age } from './redis-store.ts'

type Reply = Awaited<ReturnType<FastifyInstance['inject']>>

export interface Guesses {
  app: Awaited<ReturnType<typeof startApp>>
  /** How often credentials were looked at. */
  looks: () => number
  /** `POST /login` from an address. */
  guess: (username: unknown, password: string, ip?: string, url?: string) => Promise<Reply>
  /** What that is answered with. */
  statusOf: (username: unknown, password: string, ip?: string) => Promise<number>
}

const PASSWORDS: Record<string, string> = { ada: 'lovelace', bob: 'builder', mallory: 'mine' }

/** An application where people sign in, and others try to. `hashMs`: as long as comparing with a hash takes. */
export async function startGuessing (t: Test, options: Partial<SessionOptions>, { hashMs = 0, server = {}, ...routes }: Partial<AuthRoutesOptions> & { hashMs?: number, server?: FastifyServerOptions } = {}): Promise<Guesses> {
  const app = await startApp(t, options, server)
  let looks = 0
  await app.register(authRoutes, {
    verify: async ({ username, password }) => {
      looks++
      await new Promise((resolve) => setTimeout(resolve, hashMs))
      return PASSWORDS[username] === password ? { id: username } : null
    },
    ...routes
  })
  const guess: Guesses['guess'] = async (username, password, ip = '198.51.100.1', url = '/login') => await app.inject({ method: 'POST', url, remoteAddress: ip, payload: { username, password } })
  return { app, looks: () => looks, guess, statusOf: async (...who) => (await guess(...who)).statusCode }
}

export interface Place {
  /** Where logins are counted: the same each time it is used. */
  options: Partial<SessionOptions>
  /** As waiting would. */
  age: (ms: number) => Promise<void>
  keyPrefix: string
}

/** The same sentence about logins that are counted in memory and in Redis. */
export function onBothPlaces (t: Test, redis: TestRedis): (sentence: string, check: (t: Test, place: Place) => Promise<void>) => void {
  return (sentence, check) => {
    t.test(`in memory: ${sentence}`, async (t) => {
      let now = Date.now()
      await check(t, { options: { store: new MemoryStore({ now: () => now }) }, age: async (ms) => { now += ms }, keyPrefix: '' })
    })
    t.test(`in Redis: ${sentence}`, async (t) => {
      const keyPrefix = prefix()
      await check(t, { options: { redis: redis.url, keyPrefix }, age: (ms) => age(redis.client, keyPrefix, ms), keyPrefix })
    })
  }
}

/** The same answer to many. */
export async function inTurn<T> (count: number, ask: (index: number) => Promise<T>): Promise<T[]> {
  const answers: T[] = []
  for (let index = 0; index < count; index++) answers.push(await ask(index))
  return answers
}

/** How many of each there are, such as `{ 401: 10, 429: 2 }`. */
export function tally (statuses: number[]): Record<number, number> {
  return Object.fromEntries([...new Set(statuses)].sort().map((status) => [status, statuses.filter((each) => each === status).length]))
}
