/*
 * The transcripts that pages show: what curl and redis-cli print, up to what differs each time.
 *
 *     $ curl -i -c jar -b jar -d 'username=ada&password=lovelace' localhost:3000/auth/login
 *     HTTP/1.1 303 See Other
 *     location: /
 */

/** Cookie jars by their file's name. */
export type Jars = Map<string, Map<string, string>>

/** A command of a transcript, and what the page says that it prints. */
export interface Step {
  command: string
  lines: string[]
}

/** Splits a transcript into its steps. */
export function stepsOf (transcript: string): Step[] {
  return transcript.split(/^\$ /m).slice(1).map((step) => {
    const [command = '', ...lines] = step.trimEnd().split('\n')
    return { command, lines }
  })
}

/**
 * Does what a curl command says to the server at `port`, in place of the one it names, and prints what curl would. Knows
 * the options -i -s -c -b -d -A -H -X, and `| grep 'text'`. A line of headers that nobody expects is left out.
 */
export async function curl ({ command, lines }: Step, port: number, jars: Jars): Promise<string[]> {
  const [call = '', filter] = command.split(' | ')
  const { url, flags, options } = parse(call)
  const jar = jars.get(options.get('b')?.[0] ?? '') ?? new Map<string, string>()
  const [data] = options.get('d') ?? []
  const headers = Object.fromEntries((options.get('H') ?? []).map((header) => header.split(': ', 2)))
  const [agent] = options.get('A') ?? ['curl/8.5.0']
  const response = await fetch(url.replace(/^localhost:3000/, `http://127.0.0.1:${port}`), {
    method: options.get('X')?.[0] ?? (data === undefined ? 'GET' : 'POST'),
    redirect: 'manual',
    headers: {
      'user-agent': agent as string,
      ...jar.size > 0 && { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') },
      ...data !== undefined && { 'content-type': 'application/x-www-form-urlencoded' },
      ...headers
    },
    ...data !== undefined && { body: data }
  })
  const kept = options.get('c')?.[0]
  if (kept !== undefined) jars.set(kept, withCookies(jar, response.headers.getSetCookie()))
  const body = (await response.text()).split('\n').filter((line) => line.includes(/^grep '(.*)'$/.exec(filter ?? '')?.[1] ?? ''))
  if (!flags.has('i')) return body.filter((line) => line !== '')
  const names = lines.slice(1).map((line) => /^([\w-]+): /.exec(line)?.[1] ?? '').filter((name) => name !== '')
  const head = names.map((name) => `${name}: ${response.headers.get(name) ?? ''}`)
  const printed = [`HTTP/1.1 ${response.status} ${response.statusText}`, ...head]
  return body.join('') === '' ? printed : [...printed, '', ...body]
}

/** What a line says without ids, tokens, instants and durations, which differ each time. */
export function shape (text: string): string {
  return text
    .replace(/(?<![\w-])[\w-]{22}(?![\w-])(\.[\w…-]+)*/g, 'ID')
    .replace(/\b\d{13}\b/g, 'INSTANT')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'DATE')
    .replace(/"latencyMs":\d+/g, '"latencyMs":N')
    // A sign-in on a busy machine takes seconds off its cookie.
    .replace(/(?<=Max-Age=604)79\d\b/g, '800')
}

function parse (call: string): { url: string, flags: Set<string>, options: Map<string, string[]> } {
  const [name, ...words] = [...call.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '')
  if (name !== 'curl') throw new Error(`not a curl command: ${call}`)
  const flags = new Set<string>()
  const options = new Map<string, string[]>()
  let url = ''
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (/^-[is]$/.test(word)) flags.add(word.slice(1))
    else if (/^-[cbdAHX]$/.test(word)) options.set(word.slice(1), [...options.get(word.slice(1)) ?? [], words.shift() ?? ''])
    else if (word.startsWith('-') || url !== '') throw new Error(`what is ${word} in ${call}?`)
    else url = word
  }
  return { url, flags, options }
}

function withCookies (jar: Map<string, string>, lines: string[]): Map<string, string> {
  const kept = new Map(jar)
  for (const line of lines) {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (/; max-age=0(;|$)/i.test(line)) kept.delete(name)
    else kept.set(name, value)
  }
  return kept
}
