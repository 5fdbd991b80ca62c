import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './process.ts'

const page = readFileSync(join(root, 'docs/guides/planned-failover.md'), 'utf8')
const block = /<!-- planned failover -->\n```sh\n([^]*?)```/.exec(page)?.[1] ?? ''

/** A command of the guide to a planned failover. */
export interface HandOverStep {
  server: 'MASTER' | 'NEXT' | 'SENTINEL'
  /** Sent to each Sentinel; otherwise to one. */
  everySentinel: boolean
  command: string[]
}

/** Returns the commands of the guide, with `values` in place of its words. */
export function handOverSteps (values: Record<string, string>): HandOverStep[] {
  if (block === '') throw new Error('docs/guides/planned-failover.md has no commands')
  const lines = block.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return lines.map((line) => {
    const said = /^redis-cli -h \$(MASTER|NEXT|SENTINEL)(?: -p 26379)? ([^#]+?)(?: +# (.*))?$/.exec(line)
    if (said === null) throw new Error(`docs/guides/planned-failover.md has a line of another form: ${line}`)
    const [, server, command, comment = ''] = said as unknown as [string, HandOverStep['server'], string, string?]
    return { server, everySentinel: comment.startsWith('each'), command: command.split(' ').map((word) => values[word] ?? word) }
  })
}
