import t from 'tap'
import { errors } from '../../lib/errors.ts'
import { StoreBudget } from '../../lib/http/store-budget.ts'
import { withRealLimits } from '../helpers/patience.ts'

withRealLimits(t)

const later = async <T>(ms: number, value: T): Promise<T> => await new Promise((resolve) => setTimeout(resolve, ms, value))
const never = async (): Promise<never> => await new Promise(() => {})

/** Whether the next operation is waited for at all, though it is never answered. */
async function waits (budget: StoreBudget): Promise<boolean> {
  return await Promise.race([budget.within(never()).then(() => true, () => false), later(300, true)])
}

t.test('what an operation took that failed is used up like that of any other', async (t) => {
  const lost = new StoreBudget()
  await t.rejects(lost.within(later(500, null).then(() => { throw new errors.STORE_UNAVAILABLE() })), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.notOk(await waits(lost))
})

t.test('an operation that was not answered uses up all there is', async (t) => {
  const budget = new StoreBudget()
  await t.rejects(budget.within(never()), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.notOk(await waits(budget))
})

t.test('after a failure at once, and after an answer however late, the next operation is waited for', async (t) => {
  const [refused, slow] = [new StoreBudget(), new StoreBudget()]
  await t.rejects(refused.within(Promise.reject(new Error('refused'))), { message: 'refused' })
  t.ok(await waits(refused))
  t.equal(await slow.within(later(590, 'answer')), 'answer')
  t.equal(await slow.within(later(20, 'the next')), 'the next')
})

t.test('what lives for long has all of it again, also after a failure', async (t) => {
  const budget = new StoreBudget()
  await t.rejects(budget.within(never()), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await later(620, null)
  t.ok(await waits(budget))
})

t.test('operations that are waited for at once use up the time once', async (t) => {
  const budget = new StoreBudget()
  await Promise.all(Array.from({ length: 30 }, () => budget.within(later(40, null))))
  t.equal(await budget.within(later(300, 'the next')), 'the next')
})

t.test('an operation that begins while another is waited for has what that leaves', async (t) => {
  const budget = new StoreBudget()
  const lost = budget.within(never()).catch(() => {})
  await later(400, null)
  const startedAt = performance.now()
  await t.rejects(budget.within(never()), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.ok(performance.now() - startedAt < 550, 'not 600 ms of its own')
  await lost
})
