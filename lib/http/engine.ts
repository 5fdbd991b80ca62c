import fastifySession from '@fastify/session'
import type { FastifySessionObject } from '@fastify/session'
import type { FastifyInstance } from 'fastify'
import type { PluginContext } from './context.ts'

/** Gives a session object of @fastify/session that holds nothing. */
export type Engine = () => FastifySessionObject

/**
 * @fastify/session, used for its session object alone. It is registered where there are no routes, so
 * that its hooks never run; its one public entrance, `decryptSession`, gives the object. What a request has
 * is made after that by `session-object.ts`: with the same prototype, and the same cookie.
 */
export async function registerEngine (app: FastifyInstance, { options }: PluginContext): Promise<Engine> {
  let decryptSession: FastifyInstance['decryptSession'] = () => {}
  const unused = (): never => { throw new Error('@fastify/session is not to store anything itself') }
  await app.register(async (child) => {
    await child.register(fastifySession, {
      // The cookie's signature is verified before. Here none is good: each session is a new one.
      secret: { sign: (id) => id, unsign: () => ({ valid: false, renew: false, value: null }) },
      store: { get: unused, set: unused, destroy: unused },
      idGenerator: () => 'none',
      rolling: false,
      saveUninitialized: false,
      cookie: cookieOf(options)
    })
    decryptSession = child.decryptSession
  })
  return () => {
    const holder: { session?: FastifySessionObject } = {}
    decryptSession('none', holder, () => {})
    return holder.session as FastifySessionObject
  }
}

/** How long it lives is each session's own. */
function cookieOf ({ cookie: { domain, ...cookie } }: PluginContext['options']) {
  return { ...cookie, ...domain !== undefined && { domain } }
}
