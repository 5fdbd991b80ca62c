import t from 'tap'
import { freePort, startProgram } from '../helpers/process.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

/*
 * The recipe of docs/guides/rotation.md for another name of the cookie, as it is rolled out: on one Redis, process by
 * process. A request may meet any process of its moment, and replies may come in any order.
 */
const [OLD, NEW] = ['__Host-sid', '__Host-Http-sid']

const redis = await startRedis(t)
const keyPrefix = prefix()

/** Starts a process whose cookie has these names: the first is written, all are read. */
async function start (...names: string[]): Promise<string> {
  const port = await freePort()
  const env = { REDIS_URL: redis.url, KEY_PREFIX: keyPrefix, COOKIE_NAMES: names.join() }
  await startProgram(t, 'test/helpers/renamed-service.ts', port, env)
  return `http://127.0.0.1:${port}`
}

const [before, first, second, after] = await Promise.all([start(OLD), start(OLD, NEW), start(NEW, OLD), start(NEW)])

/** What a browser keeps. */
class Jar {
  readonly #cookies: Map<string, string>

  constructor (cookies: Map<string, string> = new Map()) {
    this.#cookies = cookies
  }

  get names (): string[] {
    return [...this.#cookies.keys()]
  }

  copy (): Jar {
    return new Jar(new Map(this.#cookies))
  }

  async send (method: string, url: string): Promise<{ status: number, text: string, setCookies: string[] }> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = { 'x-forwarded-proto': 'https', ...cookie !== '' && { cookie } }
    const response = await fetch(url, { method, headers })
    return { status: response.status, text: await response.text(), setCookies: response.headers.getSetCookie() }
  }

  /** Keeps what a reply has set, and drops what it has taken back. */
  keep (setCookies: string[]): void {
    for (const line of setCookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (line.includes('; Max-Age=0;')) this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
  }

  /** Returns who a process says it is, and keeps what it sets. */
  async who (process: string): Promise<string> {
    const { status, text, setCookies } = await this.send('GET', `${process}/me`)
    this.keep(setCookies)
    return status === 200 ? text : String(status)
  }
}

function permutations<T> (all: T[]): T[][] {
  if (all.length === 0) return [[]]
  return all.flatMap((each, index) => permutations(all.toSpliced(index, 1)).map((rest) => [each, ...rest]))
}

/** Signs somebody in at one of the processes. */
async function signedIn (process: string): Promise<Jar> {
  const jar = new Jar()
  jar.keep((await jar.send('POST', `${process}/login?as=ada`)).setCookies)
  return jar
}

/** Returns whom the processes take the owner of a jar for, asked one after the other, twice. */
async function everywhere (jar: Jar, processes: string[]): Promise<string[]> {
  const said: string[] = []
  for (const process of [...processes, ...processes]) said.push(await jar.who(process))
  return said
}

t.test('[3.3.3] the cookie is renamed in two steps, each rolled out process by process, and nobody is signed out at any moment', async (t) => {
  let jars = [await signedIn(before)]
  for (const [inService, written] of [
    [[before, first], [OLD]],
    [[first], [OLD]],
    [[first, second], [OLD, NEW]],
    [[second], [NEW]],
    [[second, after], [NEW]],
    [[after], [NEW]]
  ] as const) {
    const processes = [...inService]
    jars.push(...await Promise.all(processes.map(signedIn)))
    const seen = new Set<string>()
    const kept: Jar[] = []
    for (const jar of jars) {
      // Requests of one page, sent at once: each carries what the jar holds now.
      const replies = await Promise.all([...processes, ...processes].slice(0, 3).map(async (process) => await jar.send('GET', `${process}/me`)))
      t.strictSame([...new Set(replies.map(({ text }) => text))], ['ada'])
      for (const order of permutations(replies)) {
        const own = jar.copy()
        for (const { setCookies } of order) own.keep(setCookies)
        for (const name of own.names) seen.add(name)
        t.strictSame([...new Set(await everywhere(own.copy(), processes))], ['ada'])
        t.strictSame([...new Set(await everywhere(own.copy(), processes.toReversed()))], ['ada'])
        if (order.every((reply, index) => reply === replies[index])) kept.push(own)
      }
    }
    t.strictSame([...seen].sort(), [...written].sort(), `${inService.length} in service`)
    jars = kept
  }
})

t.test('without the first step, a process meets a name that it does not read', async (t) => {
  const ada = await signedIn(before)
  t.strictSame(await everywhere(ada, [second, before]), ['ada', '401', 'ada', '401'])
})

t.test('who has not come since the second step signs in once more when the old name is read no longer', async (t) => {
  const ada = await signedIn(before)
  t.strictSame(await everywhere(ada, [after]), ['401', '401'])
})
