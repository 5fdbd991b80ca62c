import fastifySession from '@fastify/session'
import type { FastifySessionObject } from '@fastify/session'
import type { FastifyInstance } from 'fastify'
import type { Data } from '../session/changes.ts'
import type { PluginContext } from './context.ts'

/** Builds the session object of one request: under this id, holding this data. */
export type BuildSession = (id: string, data: Data) => FastifySessionObject

/**
 * @fastify/session, used for its session object alone. It is registered where there are no routes, so
 * that its hooks never run; its one public entrance, `decryptSession`, builds the object, out of what
 * its store gives it. That store holds just the data of the object being built. What the object's own
 * methods would ask of it is answered by `session-object.ts` instead.
 */
export async function registerEngine (app: FastifyInstance, { options }: PluginContext): Promise<BuildSession> {
  let decryptSession: FastifyInstance['decryptSession'] = () => {}
  let beingBuilt: Data = {}
  const unused = (): never => { throw new Error('@fastify/session is not to store anything itself') }
  await app.register(async (child) => {
    await child.register(fastifySession, {
      // The cookie's signature is verified before; in here a session goes by its public id.
      secret: { sign: (id) => id, unsign: (id) => ({ valid: true, renew: false, value: id }) },
      // Its own type of a session is the application's; here it is data.
      store: { get: (_id, callback) => callback(null, beingBuilt as never), set: unused, destroy: unused },
      rolling: false,
      saveUninitialized: false,
      cookie: cookieOf(options)
    })
    decryptSession = child.decryptSession
  })
  return (id, data) => {
    const holder: { session?: FastifySessionObject } = {}
    beingBuilt = data
    decryptSession(id, holder, () => {})
    beingBuilt = {}
    return holder.session as FastifySessionObject
  }
}

function cookieOf ({ cookie: { domain, ...cookie }, absoluteTimeoutMs }: PluginContext['options']) {
  return { ...cookie, ...domain !== undefined && { domain }, maxAge: absoluteTimeoutMs }
}
