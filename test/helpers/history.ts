/**
 * What was asked of sessions, when, and what was answered, and what of it cannot be true. Instants are of one
 * clock (`performance.now()`), however many processes are asked.
 *
 * An outcome that is not known (503) says nothing: it may have happened, may not, and may yet.
 */

/** `null`: not known. */
export type Known = boolean | null

interface Span {
  readonly began: number
  readonly answered: number
}

interface Login extends Span {
  readonly userId: string
}

/** `confirmed`: it was answered that the session is over. */
interface End extends Span {
  readonly confirmed: boolean
  /** The process that was asked goes on until it is confirmed. */
  readonly insists: boolean
}

interface Read extends Span {
  /** Whether the session was found. */
  readonly found: Known
  /** Everything is well again, and has been for as long as anything may take. */
  readonly final: boolean
}

export interface Findings {
  /** Reads that found a session whose end had been confirmed before they began. */
  resurrected: string[]
  /** Reads that did not find a session whose login had been confirmed, and nobody had begun to end. */
  lost: string[]
  /** Sessions whose end was asked for and not confirmed, that are there when everything is well again. */
  unended: string[]
}

export class History {
  readonly #logins = new Map<string, Login>()
  readonly #ends = new Map<string, End[]>()
  readonly #endsOfUsers = new Map<string, End[]>()
  readonly #reads = new Map<string, Read[]>()

  /** A login that was confirmed; of another nobody holds a token. */
  login (id: string, userId: string, span: Span): void {
    this.#logins.set(id, { userId, ...span })
  }

  /** A logout, or a revocation by the session's id. */
  end (id: string, confirmed: boolean, span: Span): void {
    append(this.#ends, id, { ...span, confirmed, insists: true })
  }

  /** Everything of one user is over that began before; what began meanwhile may be. */
  endOfUser (userId: string, confirmed: boolean, span: Span): void {
    append(this.#endsOfUsers, userId, { ...span, confirmed, insists: false })
  }

  read (id: string, found: Known, span: Span, { final = false } = {}): void {
    append(this.#reads, id, { ...span, found, final })
  }

  /** How much was asked. */
  get counts (): { logins: number, ends: number, reads: number } {
    const sum = (map: Map<string, unknown[]>): number => [...map.values()].reduce((all, { length }) => all + length, 0)
    return { logins: this.#logins.size, ends: sum(this.#ends) + sum(this.#endsOfUsers), reads: sum(this.#reads) }
  }

  /** The sessions that were begun. */
  get sessions (): string[] {
    return [...this.#logins.keys()]
  }

  /** `staleMs`: for how long a process may find a session that another has ended. */
  check ({ staleMs = 0 } = {}): Findings {
    const findings: Findings = { resurrected: [], lost: [], unended: [] }
    for (const { id, login, ends, read } of this.#looks()) {
      const confirmed = ends.find((end) => end.confirmed && end.answered + staleMs <= read.began)
      const said = `${id} at ${read.began.toFixed()}`
      if (read.found === true && confirmed !== undefined) findings.resurrected.push(`${said}, ended at ${confirmed.answered.toFixed()}`)
      else if (read.found === true && read.final && ends.some(({ insists }) => insists)) findings.unended.push(said)
      if (read.found === false && login !== undefined && login.answered <= read.began && !ends.some(({ began }) => began <= read.answered)) findings.lost.push(`${said}, begun at ${login.answered.toFixed()}`)
    }
    return findings
  }

  /** How long after its confirmed end a session was found at the most. */
  get stalestMs (): number {
    let stalestMs = 0
    for (const { ends, read } of this.#looks()) {
      if (read.found !== true) continue
      for (const { confirmed, answered } of ends) if (confirmed) stalestMs = Math.max(stalestMs, read.began - answered)
    }
    return stalestMs
  }

  * #looks (): Generator<{ id: string, login: Login | undefined, ends: End[], read: Read }> {
    for (const [id, reads] of this.#reads) {
      const login = this.#logins.get(id)
      const ends = login === undefined ? [] : this.#endsOf(id, login)
      for (const read of reads) yield { id, login, ends, read }
    }
  }

  #endsOf (id: string, login: Login): End[] {
    const ofUser = (this.#endsOfUsers.get(login.userId) ?? [])
      // One that is not confirmed may happen at any later time.
      .filter(({ confirmed, answered }) => !confirmed || login.began <= answered)
      .map((end) => login.answered <= end.began ? end : { ...end, confirmed: false })
    return [...this.#ends.get(id) ?? [], ...ofUser]
  }
}

/** Of several findings, how many sessions they are about. */
export function sessionsOf (findings: string[]): number {
  return new Set(findings.map((finding) => finding.split(' ')[0])).size
}

function append<T> (map: Map<string, T[]>, key: string, value: T): void {
  const values = map.get(key)
  if (values === undefined) map.set(key, [value])
  else values.push(value)
}
