import { randomBytes } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { BothBuses } from '../../lib/redis/both-buses.ts'
import type { RedisBus } from '../../lib/redis/bus.ts'
import type { LineBus } from '../../lib/redis/line-bus.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

type Say = (message: string) => void

/** Subscribes to two buses together, and returns them: what speaks on each, begins and ends an outage, and refuses. */
function open (onMessage: Say = () => {}) {
  const stop = async (): Promise<void> => {}
  const hears = { plain: false, sharded: false }
  const on: Partial<Record<'plain' | 'sharded', { say: Say, onGap: () => void }>> = {}
  const state = { gaps: 0, refuse: () => {} }
  const plain = {
    get hears () { return hears.plain },
    subscribe: (say: Say, onGap: () => void) => {
      on.plain = { say, onGap }
      return stop
    }
  }
  const sharded: Pick<LineBus, 'hears' | 'listen'> = {
    hears: () => hears.sharded,
    listen: (listener) => {
      on.sharded = { say: listener.onMessage, onGap: listener.onGap }
      state.refuse = () => listener.onRefused?.(new Error('NOPERM'))
      return stop
    }
  }
  // It calls no other members to listen.
  new BothBuses(plain as RedisBus, sharded as LineBus, () => {}).subscribe(onMessage, () => { state.gaps++ })
  const lose = (name: keyof typeof hears): void => { hears[name] = false }
  const hear = (name: keyof typeof hears): void => {
    hears[name] = true
    on[name]?.onGap()
  }
  return { state, lose, hear, plain: (message: string) => on.plain?.say(message), sharded: (message: string) => on.sharded?.say(message) }
}

function usedBytes (): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

t.test('a message is heard once, over whichever bus it comes first, and as often as it is sent', async (t) => {
  const heard: string[] = []
  const { plain, sharded } = open((message) => { heard.push(message) })
  for (const [first, second] of [[plain, sharded], [sharded, plain]] as const) {
    first('one')
    first('other')
    second('one')
    second('other')
  }
  plain('only here')
  plain('only here')
  t.strictSame(heard, ['one', 'other', 'one', 'other', 'only here', 'only here'])
})

t.test('an outage is told once, when it is over on both', async (t) => {
  const { state, lose, hear } = open()
  let told = 0
  for (const [first, second] of [['plain', 'sharded'], ['sharded', 'plain']] as const) {
    for (const name of [first, second]) lose(name)
    hear(first)
    t.equal(state.gaps, told)
    hear(second)
    t.equal(state.gaps, ++told)
    lose(second)
    hear(second)
    t.equal(state.gaps, ++told, 'one of them alone')
  }
})

t.test('where sharded messages are refused, nobody waits for them', async (t) => {
  const { state, lose, hear } = open()
  hear('plain')
  t.equal(state.gaps, 0)
  state.refuse()
  t.equal(state.gaps, 1)
  lose('plain')
  hear('plain')
  t.equal(state.gaps, 2)
})

t.test('long messages that came over one bus alone are not kept', async (t) => {
  let count = 0
  const { plain } = open(() => { count++ })
  const before = usedBytes()
  for (let each = 0; each < 1_000; each++) plain(randomBytes(30_000).toString('base64'))
  // They have 40 MB.
  t.ok(usedBytes() - before < 20_000_000)
  t.equal(count, 1_000)
  // The subscription still lives.
  plain('one more')
  t.equal(count, 1_001)
})
