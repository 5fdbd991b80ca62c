import type { Cost } from './measure.ts'

const WIDTH = 920
const BAR = 20
const GAP = 8
const LABELS = 470
const TOP = 52
const RIGHT = 64
const FONT = 'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13"'

/**
 * Horizontal bars, the cheapest first. Colours that can be read on white as on black; the text follows what the
 * reader prefers.
 */
export function plot (costs: readonly Cost[]): string {
  const rows = [
    { label: 'Fastify 5, no session', ratio: 1, of: 'nobody', goal: undefined },
    ...costs.map(({ variant: { says, of, goal }, ratio }) => ({ label: (of === 'us' ? `fastify-user-sessions: ${says}` : says).replaceAll('`', ''), ratio, of, goal }))
  ].map((row) => ({ ...row, label: row.label.replace(/^… /, '@fastify/session + connect-redis 8 ') })).sort((a, b) => a.ratio - b.ratio)
  const longest = Math.max(...rows.map(({ ratio }) => ratio))
  const scale = (WIDTH - LABELS - RIGHT) / longest
  const bars = rows.map(({ label, ratio, of, goal }, index) => {
    const y = TOP + index * (BAR + GAP)
    const middle = y + BAR / 2 + 4.5
    const width = (ratio * scale).toFixed(1)
    const mark = goal === undefined ? '' : `<path class="goal" d="M${(LABELS + goal * scale).toFixed(1)} ${y - 2}v${BAR + 4}"/>`
    return `<text x="${LABELS - 8}" y="${middle}" text-anchor="end"${of === 'us' ? ' font-weight="600"' : ''}>${escape(label)}</text>` +
      `<rect class="${of}" x="${LABELS}" y="${y}" width="${width}" height="${BAR}" rx="2"/>${mark}` +
      `<text x="${(LABELS + Math.max(ratio, goal ?? 0) * scale + 6).toFixed(1)}" y="${middle}">${ratio.toFixed(ratio < 10 ? 2 : 1)}</text>`
  })
  const height = TOP + rows.length * (BAR + GAP) + 6
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" ${FONT}>
<title>CPU of the server per signed-in request, as a multiple of Fastify without a session</title>
<style>
text { fill: #24292f } .nobody { fill: #8b949e } .us { fill: #2da44e } .others { fill: #6e9fd8 } .goal { stroke: #bf5b00; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #d0d7de } .goal { stroke: #ffa657 } }
</style>
<text x="8" y="20" font-weight="600">CPU of the server per signed-in GET /me, as a multiple of Fastify without a session</text>
<text x="8" y="39" font-size="12">10,000 sessions, 50 connections; less is better; the upright line is our goal</text>
${bars.join('\n')}
</svg>
`
}

function escape (text: string): string {
  return text.replace(/[&<>]/g, (each) => `&#${each.charCodeAt(0)};`)
}
