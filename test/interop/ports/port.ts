import type express from 'express'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { SessionOptions } from '../../../lib/index.ts'
import type { Answer, Jar } from '../../helpers/express-app.ts'

/*
 * Applications that were published with another session library. Their lines about the session stand as they were, in
 * their order, with stubs for the rest: database, passwords, pages.
 */

// What is in the session, and in a body, is each application's own.
export type Req = Omit<FastifyRequest, 'session' | 'body' | 'user'> & { session: any, body: any, user?: any }

export interface Port {
  /** Kind of application, and what is special about its lines. */
  kind: string
  /** Library that it was written for. */
  library: 'express-session' | '@fastify/session' | '@fastify/secure-session'
  /** Its registration, as its library took it, but for `store`: connect-redis on the Redis of the test. */
  theirs: Record<string, unknown>
  /** Its routes on Fastify as they were, where a line of them is an error here. */
  published?: (app: FastifyInstance) => unknown
  /** Its routes on Express, where it had that. */
  express?: (app: express.Express) => unknown
  /** Its routes on Fastify. Of an Express application they are the same lines, in Fastify's words. */
  routes: (app: FastifyInstance) => unknown
  /** Options that the boot refuses of `theirs`. */
  faults: string[]
  /** What its registration becomes, besides `redis` and `keyPrefix`. */
  options: Partial<SessionOptions>
  /** What the boot warns of then. */
  warnings?: RegExp[]
  /** Signs in as a person's browser does. */
  login: (jar: Jar, at: { url: string }, person: Person, password?: string) => Promise<Answer>
  /** Names who sees a guarded page. */
  seen: (jar: Jar, at: { url: string }) => Promise<string | null>
  logout: (jar: Jar, at: { url: string }) => Promise<Answer>
  /** The user's id, as this package has it. */
  idOf: (person: Person) => string
}

export interface Person { id: number, name: string, email: string, password: string, role: string }

export const ada: Person = { id: 1, name: 'ada', email: 'ada@example.com', password: 'lovelace', role: 'admin' }
export const bob: Person = { id: 2, name: 'bob', email: 'bob@example.com', password: 'builder', role: 'viewer' }

/** What a database does, and answers a moment later. */
export async function find (name: unknown, password?: unknown): Promise<Person | null> {
  await new Promise(setImmediate)
  const person = [ada, bob].find((each) => each.name === name || each.email === name)
  return person === undefined || (password !== undefined && person.password !== password) ? null : { ...person }
}
