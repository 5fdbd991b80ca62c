import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import t from 'tap'
import { exchangesOf } from '../../bench/cost/servers.ts'
import type { Closed, OutsideResult } from '../../bench/outside/figures.ts'
import { Sender } from '../../bench/outside/open-loop.ts'
import { outsideTable, readmeTable, waysTable } from '../helpers/costs.ts'

const HALT_MS = 200

t.test('a request that is due while the server halts counts as slow, though it is sent later', async (t) => {
  const sockets: Socket[] = []
  // Whose requests wait; null: none has to.
  let held: Socket[] | null = []
  const reply = (socket: Socket): void => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi') }
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {}).on('data', () => {
      if (held === null) return reply(socket)
      if (held.push(socket) > 1) return
      setTimeout(() => {
        for (const each of held ?? []) reply(each)
        held = null
      }, HALT_MS)
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await once(server, 'listening')
  const sender = await Sender.open((server.address() as AddressInfo).port)
  t.teardown(async () => { await sender.close() })
  const { waits } = await sender.send([{ request: 'GET / HTTP/1.1\r\n\r\n', body: 'hi' }], { count: 300, perSecond: 1_000 })
  // Only as many as there are connections, 50, were on their way meanwhile.
  const slow = waits.filter((wait) => wait >= HALT_MS / 2).length
  t.ok(slow >= 90, `${slow} were slow`)
})

t.test('requests are mixed as asked: a change carries its session, one of nobody does not', async (t) => {
  const headers = ['Cookie: sid=a\r\n', 'Cookie: sid=b\r\n', 'Cookie: sid=c\r\n']
  t.match(exchangesOf({ of: 'us', mix: ['/me', '/note', '/public'] }, headers), [
    { request: /^GET \/me [^]*sid=a\r\n\r\n$/, body: '{"userId":"user-00000"}' },
    { request: /^POST \/note [^]*Content-Length: 0\r\nCookie: sid=b\r\n\r\n$/, body: '{"userId":"user-00001"}' },
    { request: /^GET \/public HTTP\/1\.1\r\nHost: localhost\r\n\r\n$/ }
  ])
})

t.test('README gives a figure, and from where to where it went in all ways of measuring', async (t) => {
  const at = (ratio: number): Closed => ({
    connections: 8, ratio, low: ratio, high: ratio, launches: [ratio - 0.1, ratio + 0.1], micros: 20, rawMicros: 10, redisMicros: 0, commands: { MGET: 0.25 }, perSecond: 10_000, p50: 1, p99: 2, rawP99: 1
  })
  const way = (served: boolean, near: number, strict: number): OutsideResult['ways'][number] => ({
    served,
    apart: false,
    closed: [{ name: 'near', says: 'near', of: 'us', at: [at(near)] }, { name: 'strict', says: 'strict', of: 'us', at: [at(strict)] }],
    mixed: [{ connections: 8, ratio: 1.1 }],
    open: [],
    missing: [{ name: 'iron-session', says: 'iron-session 9', of: 'others', why: 'needs Node 22' }]
  })
  const outside: OutsideResult = {
    machine: { node: 'v20', redis: '7', cpu: 'one' }, date: '2026-01-01', method: { sessions: 1, launches: 1, rounds: 1, seconds: 1 }, ways: [way(false, 2, 2), way(true, 2.2, 2.4)]
  }
  const readme = readmeTable({ own: { costs: [], missing: [] }, outside })
  t.match(readme, '| fastify-user-sessions with `nearCache` |  | – | 2.00 (1.90–2.30) | – |')
  t.match(readme, '| fastify-user-sessions |  | – | 2.00 (1.90–2.50) | – |')
  t.match(outsideTable(outside), /iron-session 9 \| needs Node 22/)
  t.match(outsideTable(outside), '2.00 | 2.00–2.00 | 0.25 MGET | 2.0 ms')
  t.match(waysTable(outside), 'fastify-user-sessions: strict | 2.00 | 2.40 |')
  t.equal(outsideTable(null), 'Not measured yet.')
})
