/*
 * What it costs more that a session is bound to a device: the same server is asked in turn with sessions that are not
 * bound, with these and a second cookie that means nothing, and with sessions that are.
 *
 *     npm run bench:bound    about five minutes
 *
 * Two servers of one kind differ by more than this does, so that each is compared with itself alone. CPU of the server;
 * server, load and Redis are on one core. Prints a table in Markdown.
 */
import { startRedis } from '../test/helpers/redis.ts'
import type { TestRedis } from '../test/helpers/redis.ts'
import type { Exchange } from './cost/load.ts'
import { exchangesOf, Subject } from './cost/servers.ts'
import { RAW, VARIANTS } from './cost/variants.ts'
import type { Variant } from './cost/variants.ts'
import { machineOf, pin, sayMachine } from './machine.ts'
import { infoNumber, markdown, median } from './numbers.ts'

const SESSIONS = 1_500
const ROUNDS = 40
const WARM_UPS = 4
/** Each twice: the compiler makes something a little different of it each time. */
const SERVERS = ['near-bound', 'strict-bound', 'near-bound', 'strict-bound']
/** As long as the short cookie. */
const SECOND_COOKIE = `; other=${'x'.repeat(55)}`

/** What is asked in turn. `raw`: by the same requests, of Fastify without sessions. */
type Turns = Record<'raw' | 'unbound' | 'second' | 'bound', readonly Exchange[]>

const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const unbound = await signIn('near', redis.url)
  const turns: Turns = {
    raw: exchangesOf(RAW, unbound),
    unbound: exchangesOf({ of: 'us' }, unbound),
    second: exchangesOf({ of: 'us' }, unbound.map((header) => header.replace('\r\n', `${SECOND_COOKIE}\r\n`))),
    bound: exchangesOf({ of: 'us' }, await signIn('near-bound', redis.url))
  }
  const rows: string[][] = []
  for (const name of SERVERS) rows.push([name, ...await measure(name, turns, redis)])
  console.log(`${sayMachine(await machineOf(redis.client))} · CPU µs per request, medians of ${ROUNDS} rounds of ${SESSIONS} requests\n`)
  console.log(markdown(['server', 'no sessions', 'not bound', '… and a second cookie', 'bound', 'the binding, × no sessions'], rows))
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

/** Signs everybody in by a server that is gone then. Returns the headers that carry the sessions. */
async function signIn (name: string, url: string): Promise<string[]> {
  const server = await Subject.start(variantOf(name), url)
  try {
    return await server.signIn(SESSIONS)
  } finally {
    await server.stop()
  }
}

/** Measures one server, and one without sessions beside it. Returns the figures of its row. */
async function measure (name: string, turns: Turns, { url, client }: TestRedis): Promise<string[]> {
  const servers = [await Subject.start(RAW, url), await Subject.start(variantOf(name), url)] as const
  const [raw, server] = servers
  try {
    pin([process.pid, infoNumber(await client.info('server'), 'process_id'), ...servers.map(({ pid }) => pid)])
    const micros: Record<keyof Turns, number[]> = { raw: [], unbound: [], second: [], bound: [] }
    for (let round = -WARM_UPS; round < ROUNDS; round++) {
      const names = Object.keys(turns) as Array<keyof Turns>
      for (const each of names) {
        const subject = each === 'raw' ? raw : server
        // A near-cache forgets them meanwhile.
        await subject.answer(turns[each], SESSIONS)
        const before = await subject.cpuMicros()
        await subject.answer(turns[each], SESSIONS)
        if (round >= 0) micros[each].push((await subject.cpuMicros() - before) / SESSIONS)
      }
    }
    const added = micros.bound.map((bound, round) => (bound - (micros.unbound[round] ?? NaN)) / (micros.raw[round] ?? NaN))
    return [...Object.values(micros).map((each) => median(each).toFixed(1)), median(added).toFixed(2)]
  } finally {
    for (const each of servers) await each.stop()
  }
}

function variantOf (name: string): Variant {
  const variant = VARIANTS.find((each) => each.name === name)
  if (variant === undefined) throw new Error(`there is no variant ${name}`)
  return variant
}
