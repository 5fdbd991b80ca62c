import fastifySession from '@fastify/session'
import type { FastifySessionObject } from '@fastify/session'
import type { FastifyInstance, FastifyRequest, Session } from 'fastify'
import type { PluginContext } from './context.ts'

/** @fastify/session's own callback. The data is any: it is typed by the application. */
export type BridgeCallback = (error?: unknown, data?: any) => void

/** One request's answers to what @fastify/session asks of its store and of its id generator. */
export interface Bridge {
  readonly request: FastifyRequest
  readonly sessionId: string
  newSessionId (): string
  get (callback: BridgeCallback): void
  set (session: FastifySessionObject, callback: BridgeCallback): void
  destroy (callback: BridgeCallback): void
}

/** Whose call is running: all that @fastify/session asks, it asks synchronously within a request's own call. */
let current: Bridge | undefined

/** Runs a method of @fastify/session with its questions answered by `bridge`. */
export function bridged<T> (bridge: Bridge, method: () => T): T {
  const outer = current
  current = bridge
  try {
    return method()
  } finally {
    current = outer
  }
}

function running (): Bridge {
  if (current === undefined) throw new Error('@fastify/session asked outside of a request')
  return current
}

/**
 * @fastify/session, used for its session object alone. It is registered where there are no routes, so
 * that its hooks never run; its one public entrance, `decryptSession`, builds the object, and the
 * store it is given hands every call on to the request that makes it.
 *
 * Resolves with what builds `request.session` of a request.
 */
export async function registerEngine (app: FastifyInstance, { options }: PluginContext): Promise<(bridge: Bridge) => void> {
  let decryptSession: FastifyInstance['decryptSession'] = () => {}
  await app.register(async (child) => {
    await child.register(fastifySession, {
      // The cookie's signature is verified before; in here a session goes by its public id.
      secret: { sign: (id) => id, unsign: (id) => ({ valid: true, renew: false, value: id }) },
      idGenerator: () => running().newSessionId(),
      store: {
        get: (_id: string, callback: BridgeCallback) => running().get(callback),
        set: (_id: string, session: Session, callback: BridgeCallback) => running().set(session as FastifySessionObject, callback),
        destroy: (_id: string, callback: BridgeCallback) => running().destroy(callback)
      },
      rolling: false,
      saveUninitialized: false,
      cookie: cookieOf(options)
    })
    decryptSession = child.decryptSession
  })
  return (bridge) => bridged(bridge, () => decryptSession(bridge.sessionId, bridge.request, () => {}))
}

function cookieOf ({ cookie: { domain, ...cookie }, absoluteTimeoutMs }: PluginContext['options']) {
  return { ...cookie, ...domain !== undefined && { domain }, maxAge: absoluteTimeoutMs }
}
