import { PassThrough } from 'node:stream'
import type { Surroundings } from '../../lib/operate/command.ts'
import { main } from '../../lib/operate/main.ts'

/** What the command line said. */
export interface Said {
  code: number
  out: string
  err: string
  /** What it printed as JSON, line by line. */
  json: () => any[]
}

/** What a test gives to the command line. */
export interface Given {
  env?: Record<string, string | undefined>
  /** What comes on standard input, which ends after it. Absent: nothing ever comes. */
  stdin?: string
  /** Whether a person types at standard input, and watches standard error. */
  isTty?: boolean
  signal?: AbortSignal
  userName?: string | null
}

/** A call of the command line that goes on. */
export interface Running {
  /** What it has said so far. */
  said: () => Omit<Said, 'code'>
  stdin: PassThrough
  ended: Promise<Said>
}

/** Starts the command line in this process. */
export function start (argv: string[], { env = {}, stdin, isTty = false, signal, userName = 'ada' }: Given = {}): Running {
  const input = Object.assign(new PassThrough(), { isTTY: isTty })
  const [stdout, stderr] = [new PassThrough(), Object.assign(new PassThrough(), { isTTY: isTty })]
  const texts = { out: '', err: '' }
  stdout.on('data', (chunk) => { texts.out += String(chunk) })
  stderr.on('data', (chunk) => { texts.err += String(chunk) })
  if (stdin !== undefined) input.end(stdin)
  const surroundings: Surroundings = { stdin: input, stdout, stderr, env, userName, signal: signal ?? new AbortController().signal }
  const said = () => ({ ...texts, json: () => texts.out.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as any) })
  return { said, stdin: input, ended: main(argv, surroundings).then((code) => ({ code, ...said() })) }
}

/** Runs the command line in this process to its end. */
export async function operate (argv: string[], given: Given = {}): Promise<Said> {
  return await start(argv, given).ended
}
