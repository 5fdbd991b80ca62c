import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { METRICS } from '../../lib/metrics/definitions.ts'
import { root } from '../helpers/process.ts'

const page = readFileSync(`${root}docs/guides/metrics.md`, 'utf8')

interface Rule { alert: string, expr: string, for?: string, labels: { severity: string }, annotations: { summary: string } }

/** Returns what is wrong with the names of an expression: metrics that are not there, labels and values that they do not have. */
function faultsOf (expression: string): string[] {
  const selectors = [...expression.matchAll(/\b(fastify_user_sessions_\w+)(?:\{([^}]*)\})?/g)]
  if (selectors.length === 0) return [`names no metric: ${expression}`]
  return selectors.flatMap(([, name = '', matchers = '']) => {
    const metric = Object.values(METRICS).find((each) => {
      return each.type === 'histogram' ? ['_bucket', '_sum', '_count'].some((end) => name === each.name + end) : name === each.name
    })
    if (metric === undefined) return [`there is no ${name}`]
    const labels: Record<string, readonly string[]> = metric.labels
    return [...matchers.matchAll(/(\w+)="([^"]*)"/g)].flatMap(([, label = '', value = '']) => {
      return labels[label]?.includes(value) === true ? [] : [`${name} has no ${label}="${value}"`]
    })
  })
}

t.test('the alert rules are rules of Prometheus, about metrics that are there', async (t) => {
  const [, yaml = ''] = /<!-- alert rules -->\n```yaml\n([^]*?)^```$/m.exec(page) ?? []
  const { groups } = parse(yaml) as { groups: Array<{ name: string, rules: Rule[] }> }
  const rules = groups.flatMap((group) => group.rules)
  t.ok(rules.length > 5)
  for (const { alert, expr, labels, annotations, ...rest } of rules) {
    t.match(alert, /^[A-Z][A-Za-z]+$/)
    t.strictSame(faultsOf(expr), [], alert)
    t.match(expr, /[<>=] ?[\d.]+\s*$/, `${alert} has a threshold`)
    t.ok(['page', 'ticket'].includes(labels.severity), alert)
    t.match(annotations.summary, /^[A-Z].*\.$/)
    t.match(rest.for ?? '1m', /^\d+[smh]$/)
    t.strictSame(Object.keys(rest).filter((name) => name !== 'for'), [], alert)
  }
  t.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length)
})

t.test('the questions are about metrics that are there', async (t) => {
  const questions = [...page.matchAll(/^```promql\n([^]*?)^```$/gm)].map(([, text = '']) => text)
  t.ok(questions.length > 4)
  for (const question of questions) t.strictSame(faultsOf(question), [])
})

t.test('a metric, a label or a value that is not there is found', async (t) => {
  t.strictSame(faultsOf('rate(fastify_user_sessions_logins_total[5m])'), ['there is no fastify_user_sessions_logins_total'])
  t.strictSame(faultsOf('fastify_user_sessions_lookups_total{result="error"} / fastify_user_sessions_lookups_total{result="failed",of="x"}'), [
    'fastify_user_sessions_lookups_total has no result="failed"', 'fastify_user_sessions_lookups_total has no of="x"'
  ])
  t.strictSame(faultsOf('fastify_user_sessions_data_bytes'), ['there is no fastify_user_sessions_data_bytes'])
  t.strictSame(faultsOf('up == 0'), ['names no metric: up == 0'])
})
