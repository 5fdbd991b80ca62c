// A WebSocket that closes when its session ends, whichever process ends it.
import { randomBytes } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import sessionPlugin, { authRoutes } from 'fastify-user-sessions'

/** Close code for "your session has ended". Applications choose from 4000 to 4999 (RFC 6455, 7.4.2). */
const SESSION_ENDED = 4401

// Your database.
const users = new Map([
  ['ada', { id: 1, passwordHash: await hash('lovelace') }],
  ['bob', { id: 2, passwordHash: await hash('builder') }]
])
// The password of an unknown name is compared with this, so that it takes as long as a wrong password.
const nobodysHash = await hash(randomBytes(16).toString('hex'))

interface Options {
  redis?: string | undefined
  secret?: string
  /** How often the messages of a socket extend its session at most, in milliseconds. Default: once a minute. */
  touchEveryMs?: number
}

export async function buildApp (options: Options = {}): Promise<FastifyInstance> {
  const { redis = process.env.REDIS_URL, secret = process.env.SESSION_SECRET, touchEveryMs = 60_000 } = options
  const app = Fastify({ logger: { level: 'warn' } })

  // Before sessionPlugin, so that the connection of a refused upgrade is closed as well.
  await app.register(websocket, { options: { maxPayload: 64 * 1024 } })

  // An upgrade is a request like any other: its session is loaded, and one from another site is answered 403.
  await app.register(sessionPlugin, {
    secret: secret ?? randomBytes(32).toString('base64'),
    redis,
    cookie: { secure: process.env.NODE_ENV === 'production' }
  })

  await app.register(authRoutes, {
    prefix: '/auth',
    verify: async ({ username, password }) => {
      const user = users.get(username)
      return await verify(user?.passwordHash ?? nobodysHash, password) && user !== undefined ? user : null
    }
  })

  // Nobody signed in: 401, and no socket.
  app.get('/live', { websocket: true, onRequest: app.authenticate }, (socket, request) => {
    const { id, userId, signal } = request.requireAuth()
    const end = () => socket.close(SESSION_ENDED, 'the session has ended')
    signal.addEventListener('abort', end, { once: true })
    socket.once('close', () => signal.removeEventListener('abort', end))
    if (signal.aborted) end()

    // An open socket does not extend its session. Here its messages do.
    let touchedAt = Date.now()
    socket.on('message', (message) => {
      // Messages still arrive until the client has answered our close.
      if (signal.aborted) return
      if (Date.now() - touchedAt >= touchEveryMs) {
        touchedAt = Date.now()
        // While Redis is down the session is not extended, and the socket stays open.
        app.sessions.touch(id).catch((error: unknown) => request.log.warn(error))
      }
      socket.send(`${userId}: ${String(message)}`)
    })
    socket.send(`hello ${userId}`)
  })
  return app
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`WebSocket at ${url.replace('http', 'ws')}/live`)
}
