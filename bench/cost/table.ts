import { markdown, median } from '../numbers.ts'
import type { Cost } from './measure.ts'
import type { Variant } from './variants.ts'

/** What the heading of each part of the table is. */
const OWNERS = { nobody: '', us: 'fastify-user-sessions: ', others: '' }

export function rawMicrosOf (costs: readonly Cost[]): number {
  return median(costs.map(({ rawMicros }) => rawMicros))
}

export function table (costs: readonly Cost[], missing: ReadonlyMap<Variant, string>): string {
  const rows = costs.map(({ variant, micros, ratio, low, high, redisMicros, commands }) => [
    OWNERS[variant.of] + variant.says,
    micros.toFixed(1),
    variant.of === 'us' ? `**${ratio.toFixed(2)}**` : ratio.toFixed(2),
    `${low.toFixed(2)}–${high.toFixed(2)}`,
    variant.goal === undefined ? '' : `≤ ${variant.goal}${ratio > variant.goal ? ' (missed)' : ''}`,
    Object.entries(commands).map(([name, calls]) => calls === 1 ? name : `${calls} ${name}`).join(' + ') || '0',
    Object.keys(commands).length === 0 ? '' : redisMicros.toFixed(1)
  ])
  const absent = [...missing].map(([{ of, says, goal }, why]) => [OWNERS[of] + says, why, '', '', goal === undefined ? '' : `≤ ${goal}`, '', ''])
  return markdown(['`GET /me` by', 'CPU µs', '× raw', 'half of the rounds within', 'goal', 'Redis commands', 'CPU µs of Redis'], [
    ['Fastify 5, no session', rawMicrosOf(costs).toFixed(1), '1.00', '', '', '0', ''],
    ...rows,
    ...absent
  ])
}
