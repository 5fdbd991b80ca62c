import { randomBytes } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { BothBuses } from '../../lib/redis/both-buses.ts'
import type { LineBus } from '../../lib/redis/line-bus.ts'
import type { Bus } from '../../lib/session/store.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

type Say = (message: string) => void

/** Subscribes to both buses, and returns what speaks on each. */
function subscribe (onMessage: Say): Say[] {
  const says: Say[] = []
  const stop = async (): Promise<void> => {}
  const plain: Partial<Bus> = {
    subscribe: (hear) => {
      says[0] = hear
      return stop
    }
  }
  const sharded: Partial<LineBus> = {
    listen: ({ onMessage: hear }) => {
      says[1] = hear
      return stop
    }
  }
  // It calls no other members to listen.
  new BothBuses(plain as Bus, sharded as LineBus, () => {}).subscribe(onMessage, () => {})
  return says
}

function usedBytes (): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

t.test('a message is heard once, over whichever bus it comes first, and as often as it is sent', async (t) => {
  const heard: string[] = []
  const [plain, sharded] = subscribe((message) => { heard.push(message) }) as [Say, Say]
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

t.test('long messages that came over one bus alone are not kept', async (t) => {
  let count = 0
  const [plain] = subscribe(() => { count++ }) as [Say, Say]
  const before = usedBytes()
  for (let each = 0; each < 1_000; each++) plain(randomBytes(30_000).toString('base64'))
  // They have 40 MB.
  t.ok(usedBytes() - before < 20_000_000)
  t.equal(count, 1_000)
  // The subscription still lives.
  plain('one more')
  t.equal(count, 1_001)
})
