import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import t from 'tap'
import { SessionManager } from '../../lib/index.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import { secret } from '../helpers/app.ts'
import { operate } from '../helpers/operate.ts'
import { prefix, startCluster, startRedis } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { startSentinels } from '../helpers/topology.ts'

const redis = await startRedis(t)
const cluster = await startCluster(t)
const sentinels = await startSentinels(t)

const urls = (ports: number[]) => ports.map((port) => `redis://127.0.0.1:${port}`).join(',')
const places: Array<[string, RedisTarget, string[]]> = [
  ['one server', redis.url, ['--redis', redis.url]],
  ['a Cluster by all its nodes', { cluster: cluster.nodes }, ['--redis', urls(cluster.ports)]],
  ['a Cluster by one node', { cluster: cluster.nodes }, ['--cluster', '--redis', urls(cluster.ports.slice(1, 2))]],
  ['Sentinels', sentinels.target, ['--sentinel', sentinels.target.name, '--redis', urls(sentinels.target.sentinels.map(({ port }) => port))]]
]

for (const [name, target, where] of places) {
  t.test(`${name}: lists, shows and ends sessions`, async (t) => {
    const keyPrefix = prefix()
    const store = await openStore(t, target, { prefix: keyPrefix })
    const sessions = new SessionManager({ secret, store })
    t.teardown(() => sessions.close())
    const ids = await Promise.all(Array.from({ length: 20 }, async () => (await sessions.create({ userId: 'ada' })).session.id))
    const call = async (...args: string[]) => await operate([...args, ...where, '--json', '--prefix', keyPrefix])
    t.strictSame((await call('list', '--user', 'ada')).json().map(({ id }) => id).sort(), [...ids].sort())
    for (const id of ids) t.match((await call('show', id)).json(), [{ session: { id } }])
    t.match(await call('revoke', ids[0] as string), { code: 0, out: '{"ended":1}\n' })
    t.match(await call('revoke', '--user', 'ada'), { code: 0, out: '{"ended":19}\n' })
    t.match(await call('list', '--user', 'ada'), { code: 1, out: '' })
  })
}

t.test('a wrong password, a command that is not permitted, a server that is not there', async (t) => {
  await redis.client.call('ACL', 'SETUSER', 'reader', 'on', '>right', '~*', '&*', '+@all', '-eval', '-evalsha')
  await redis.client.call('ACL', 'SETUSER', 'nobody', 'on', '>right', '~*', '&*', '-@all', '+hello', '+auth')
  const env = { REDIS_URL: redis.url }
  const as = async (name: string, password: string, ...args: string[]) => await operate(args, { env: { ...env, REDIS_USERNAME: name, REDIS_PASSWORD: password } })
  const id = 'x'.repeat(22)
  t.match(await as('reader', 'wrong', 'show', id), { code: 3, err: /refuses: WRONGPASS/ })
  t.match(await as('nobody', 'right', 'show', id), { code: 3, err: /NOPERM .*'\w+'/ })
  t.match(await as('reader', 'right', 'show', id), { code: 1 })
  t.match(await as('reader', 'right', 'revoke', id), { code: 3, err: /NOPERM .*'eval(sha)?'.*docs\/guides\/production\.md/s })
  const asJson = await as('reader', 'right', 'revoke', id, '--json')
  t.match(asJson.json(), [{ error: { code: 'redis', message: /NOPERM/ } }])
  const nowhere = [['redis://127.0.0.1:1'], ['redis://127.0.0.1:1,redis://127.0.0.1:2'], ['redis://127.0.0.1:1', '--sentinel', 'mymaster']]
  const answers = await Promise.all(nowhere.map(async (where) => await operate(['show', id, '--redis', ...where])))
  for (const answer of answers) t.match(answer, { code: 3, err: /does not answer: ./ })
  t.match(answers[0], { err: /127\.0\.0\.1:1 does not answer: .*ECONNREFUSED/ })
})

t.test('a server that says nothing is given up, and Ctrl+C does not wait for it', async (t) => {
  const sockets = new Set<Socket>()
  const silent = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const { port } = silent.address() as AddressInfo
  const argv = ['show', 'x'.repeat(22), '--redis', `redis://127.0.0.1:${port}`]
  t.match(await operate(argv), { code: 3, err: /does not answer/ })
  const interruption = new AbortController()
  silent.once('connection', () => interruption.abort())
  t.match(await operate(argv, { signal: interruption.signal }), { code: 130, err: /interrupted/ })
})
