import fastifyRedis from '@fastify/redis'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { RedisOptions } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, sessionPlugin } from '../../lib/index.ts'
import { Browser, secret } from '../helpers/app.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'

const redis = await startRedis(t)

/** An application whose `app.redis` we are given. */
async function startBeside (t: Test, keyPrefix: string, options: Pick<RedisOptions, 'keyPrefix'> = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyRedis, { url: redis.url, ...options })
  await app.register(sessionPlugin, { secret, redis: app.redis, keyPrefix, cookie: { secure: false } })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  return app
}

const connections = async (): Promise<number> => (await redis.client.client('LIST') as string).trim().split('\n').length

t.test('people sign in and out on the Redis of app.redis, which stays the application\'s', async (t) => {
  const ours = prefix()
  const app = await startBeside(t, ours)
  const ada = new Browser(app)
  t.equal((await ada.post('/login', { username: 'ada', password: 'x' })).statusCode, 200)
  t.equal((await ada.get('/info')).json().user.id, 'ada')
  const id = (ada.cookies.get('sid') ?? '').split('.')[0] ?? ''
  t.ok(await app.redis.get(`${ours}${id}`))
  const cookie = ada.header
  t.equal((await ada.post('/logout')).statusCode, 204)
  t.equal((await app.inject({ url: '/info', headers: { cookie } })).json().authenticated, false)
  t.strictSame((await keysOf(redis.client, ours)).map((key) => key.slice(0, -22)), [`@${ours}tries:account:`], 'but that ada was here')
  await app.redis.set(`${ours}other`, '1')
  t.equal(await app.redis.get(`${ours}other`), '1')
})

t.test('the prefix of the client comes before ours', async (t) => {
  const [theirs, ours] = [prefix(), prefix()]
  const app = await startBeside(t, ours, { keyPrefix: theirs })
  const ada = new Browser(app)
  await ada.post('/login', { username: 'ada', password: 'x' })
  const id = (ada.cookies.get('sid') ?? '').split('.')[0] ?? ''
  const [tries = '', ...keys] = await keysOf(redis.client, ours)
  t.ok(tries.startsWith(`@${theirs}${ours}tries:account:`))
  t.strictSame(keys, [`@${theirs}${ours}user:ada`, `${theirs}${ours}${id}`])
  t.ok(await app.redis.get(`${ours}${id}`), 'where the client itself finds it')
})

t.test('closing the application closes both, and nothing is left', async (t) => {
  const before = await connections()
  const app = await startBeside(t, prefix())
  await new Browser(app).post('/login', { username: 'ada', password: 'x' })
  t.equal(await connections(), before + 2)
  await app.close()
  await until('both connections to be gone', async () => app.redis.status === 'end' && await connections() === before)
})
