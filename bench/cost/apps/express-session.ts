import { once } from 'node:events'
import express from 'express'
import session from 'express-session'
import { peer } from '../../peers.ts'
import type { Started } from '../server.ts'
import { bodyOf } from '../variants.ts'

interface SignedIn { userId?: string }

export async function start (redis: string): Promise<Started> {
  const [{ createClient }, { RedisStore }] = await Promise.all([peer('redis'), peer('connect-redis10')])
  const client = await createClient({ url: redis }).connect()
  const app = express()
  app.use(session({
    secret: 'only for measuring, and 32 characters long',
    resave: false,
    saveUninitialized: false,
    store: new RedisStore({ client, prefix: 'express:' })
  }))
  app.post('/login', (request, response) => {
    ;(request.session as SignedIn).userId = String(request.query.user)
    response.json({ ok: true })
  })
  app.get('/me', (request, response) => {
    const { userId } = request.session as SignedIn
    if (userId === undefined) response.status(401).end()
    else response.json(bodyOf(userId))
  })
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server }
}
