// The Express application that was there first. Only its store has changed: it was connect-redis.
import express from 'express'
import type { Express } from 'express'
import session from 'express-session'
import { RedisStore } from 'fastify-user-sessions/express'
import type { Redis } from 'ioredis'
import { checkUser } from './users.ts'

declare module 'express-session' {
  interface SessionData { userId: string }
}

export function buildExpress ({ client, secret }: { client: Redis, secret: string }): Express {
  const app = express()
  app.use(express.json())
  app.use(session({
    // Never brings back a session that the other side has ended. connect-redis can.
    store: new RedisStore({ client }),
    secret,
    resave: false,
    saveUninitialized: false,
    // Each use renews the cookie that Express has set.
    rolling: true,
    cookie: { secure: process.env.NODE_ENV === 'production', sameSite: 'lax', maxAge: 30 * 60_000 }
  }))

  app.post('/login', async (request, response, next) => {
    const { username, password } = (request.body ?? {}) as Record<string, unknown>
    const user = await checkUser(String(username), String(password))
    if (user === null) return response.status(401).json({ message: 'Invalid credentials' })
    request.session.regenerate((error) => {
      if (error) return next(error)
      request.session.userId = user.id
      response.json({ userId: user.id })
    })
  })

  app.get('/me', (request, response) => {
    const { userId } = request.session
    if (userId === undefined) return response.status(401).json({ message: 'Authentication required' })
    response.json({ userId, by: 'Express' })
  })

  app.post('/logout', (request, response, next) => {
    request.session.destroy((error) => error ? next(error) : response.status(204).end())
  })
  return app
}
