import fc from 'fast-check'
import t from 'tap'
import { DueQueue, PORTION } from '../../lib/store/due-queue.ts'

const item = (name: number) => ({ name, dueAt: 0, slot: -1 })

t.test('whatever is put in, moved and taken out, what is due comes first and in its order', async (t) => {
  const step = fc.oneof(
    fc.record({ does: fc.constant('set' as const), name: fc.nat(40), dueAt: fc.nat(100) }),
    fc.record({ does: fc.constant('delete' as const), name: fc.nat(40), dueAt: fc.constant(0) }),
    fc.record({ does: fc.constant('take' as const), name: fc.constant(0), dueAt: fc.nat(100) })
  )
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const queue = new DueQueue<ReturnType<typeof item>>()
    const items = Array.from({ length: 41 }, (_, name) => item(name))
    const held = new Map<number, number>()
    for (const { does, name, dueAt } of steps) {
      if (does === 'set') {
        queue.set(items[name] as ReturnType<typeof item>, dueAt)
        held.set(name, dueAt)
      } else if (does === 'delete') {
        queue.delete(items[name] as ReturnType<typeof item>)
        held.delete(name)
      } else {
        const taken = queue.removeDue(dueAt)
        const expected = [...held.entries()].filter(([, at]) => at <= dueAt)
        const dates = taken.map((each) => each.dueAt)
        if (taken.length !== expected.length || taken.some((each) => held.get(each.name) !== each.dueAt || each.slot !== -1)) return false
        if (dates.some((at, index) => at < (dates[index - 1] ?? 0))) return false
        for (const each of taken) held.delete(each.name)
      }
    }
    return true
  }), { numRuns: 500 })
  t.pass('in 500 runs')
})

t.test('one call takes a portion of what is due', async (t) => {
  const queue = new DueQueue<ReturnType<typeof item>>()
  for (let name = 0; name < 250; name++) queue.set(item(name), 250 - name)
  t.strictSame([1000, 1000, 1000, 1000].map((now) => queue.removeDue(now).length), [PORTION, PORTION, 50, 0])
})

t.test('a queue that was cleared holds nothing, and what was in it may come back', async (t) => {
  const queue = new DueQueue<ReturnType<typeof item>>()
  const [one, two] = [item(1), item(2)]
  queue.set(one, 1)
  queue.set(two, 2)
  queue.clear()
  t.strictSame(queue.removeDue(9), [])
  queue.set(two, 3)
  t.strictSame(queue.removeDue(9), [two])
})
