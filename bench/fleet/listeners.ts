import { Line } from './line.ts'
import type { Pause, Seen } from './line.ts'
import { modeOf } from './modes.ts'
import type { Mode } from './modes.ts'

/*
 * The processes of a fleet: the child of fleet.ts, which simulates many of them.
 *
 *     listeners.ts <port of Redis>
 */

/** What the child is to do. It answers each order when that is done. */
export type Order =
  | { does: 'open', mode: string, lines: number, sampled: number }
  /** They are about to be cut off, all at once; each connects again by itself. */
  | { does: 'arm', pause: Pause }
  /** Waits until all hear again. */
  | { does: 'hear again' }
  /** Each reads these keys, so many with one command. */
  | { does: 'read', keys: string[], atOnce: number }
  | { does: 'forget' }
  | { does: 'tell' }
  | { does: 'close' }

/** When each sampled line saw which session change. */
export type Told = Array<Array<[id: string, ns: string]>>

const [port] = process.argv.slice(2)

// The parent takes the names above from here.
if (process.send !== undefined && port !== undefined) serve(Number(port))

function serve (port: number): void {
  let lines: Line[] = []
  let sampled: Seen[] = []
  process.once('disconnect', () => process.exit())
  process.on('message', (order: Order) => {
    void obey(order).then((answer) => process.send?.({ answer }))
  })
  process.send?.({ answer: null })

  async function obey (order: Order): Promise<Told | null> {
    switch (order.does) {
      case 'open':
        await open(modeOf(order.mode), order.lines, order.sampled)
        return null
      case 'arm':
        for (const line of lines) line.arm(order.pause)
        return null
      case 'hear again':
        await Promise.all(lines.map((line) => line.hearsAgain))
        return null
      case 'read':
        await Promise.all(lines.map(async (line) => await line.read(order.keys, order.atOnce)))
        return null
      case 'forget':
        for (const seen of sampled) seen.clear()
        return null
      case 'tell':
        return sampled.map((seen) => [...seen].map(([id, at]) => [id, String(at)]))
      case 'close':
        for (const line of lines) line.close()
        lines = []
        return null
    }
  }

  async function open (mode: Mode, count: number, samples: number): Promise<void> {
    sampled = Array.from({ length: Math.min(samples, count) }, () => new Map())
    const every = count / Math.max(1, sampled.length)
    // Among all of them: Redis writes to one after the other.
    const places = new Map(sampled.map((seen, index) => [Math.floor((index + 0.5) * every), seen]))
    lines = Array.from({ length: count }, (_, index) => new Line(port, mode, places.get(index) ?? null))
    for (let from = 0; from < count; from += 50) await Promise.all(lines.slice(from, from + 50).map(async (line) => await line.open()))
  }
}
