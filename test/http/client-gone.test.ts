import { once } from 'node:events'
import { request as get } from 'node:http'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { startApp } from '../helpers/app.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'
import { listen } from '../helpers/visitor.ts'

t.test('a client that goes away before it is signed in leaves no session behind, in routes of your own as well', async (t) => {
  const store = new SpyStore()
  const app = await startApp(t, { store })
  const ways: Record<string, (request: FastifyRequest) => unknown> = {
    login: (request) => app.login(request, { id: 'ada' }),
    assignment: ({ session }) => { session.userId = 'ada' },
    save: async ({ session }) => {
      session.cart = ['book']
      await session.save()
    }
  }
  const outcomes: unknown[] = []
  let gate = new Gate()
  let gone: Promise<unknown> = Promise.resolve()
  for (const [name, act] of Object.entries(ways)) {
    app.post(`/${name}`, async (request) => {
      gone = once(request.socket, 'close')
      await gate.pass()
      const outcome = (async () => await act(request))().then(() => 'nothing', ({ code }: { code: string }) => code)
      outcomes.push(await outcome)
      return {}
    })
  }
  const url = await listen(app)
  for (const name of Object.keys(ways)) {
    gate = new Gate()
    const client = get(`${url}/${name}`, { method: 'POST' })
    client.on('error', () => {})
    client.end()
    await gate.reached
    client.destroy()
    await gone
    gate.open()
    while (outcomes.length < Object.keys(ways).indexOf(name) + 1) await new Promise((resolve) => setImmediate(resolve))
  }
  t.strictSame(outcomes, ['ERR_SESSION_CLIENT_GONE', 'nothing', 'ERR_SESSION_CLIENT_GONE'])
  await app.close()
  t.equal(store.calls.includes('begin'), false)
})
