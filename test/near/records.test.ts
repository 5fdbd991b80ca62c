import t from 'tap'
import { RecentRecords } from '../../lib/near/records.ts'
import { record } from '../helpers/record.ts'

t.test('what is kept is a copy, with the text it had', async (t) => {
  const recent = new RecentRecords(10)
  const given = record({ data: '{"cart":["ä","€","🙂"]}' })
  recent.set(given, 5)
  const place = recent.placeOf(given.id)
  t.strictSame(recent.recordAt(place ?? NaN), given)
  t.not(recent.recordAt(place ?? NaN), given)
  t.ok(Object.isFrozen(recent.recordAt(place ?? NaN)))
  t.equal(recent.readAt(place ?? NaN), 5)
})

t.test('each of very many is found with the time when it was read', async (t) => {
  const recent = new RecentRecords(3_000)
  const all = Array.from({ length: 5_000 }, () => record())
  for (const [index, each] of all.entries()) recent.set(each, index)
  const times = all.map(({ id }) => recent.placeOf(id)).map((place) => place === undefined ? null : recent.readAt(place))
  t.strictSame(times, all.map((_each, index) => index < 2_000 ? null : index))
})
