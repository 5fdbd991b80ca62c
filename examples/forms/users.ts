// The users, in memory. Put your database here.
import { randomUUID } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'

export interface User { id: string, username: string, passwordHash: string }

export class Users {
  readonly #byName = new Map<string, User>()
  /** Compared with the password of an unknown name, so that it takes as long as a wrong password. */
  readonly #nobodysHash = hash(randomUUID())

  find (id: string): User | undefined {
    return [...this.#byName.values()].find((user) => user.id === id)
  }

  /** Adds a user. Returns null if the name is taken. */
  async add (username: string, password: string): Promise<User | null> {
    const user = { id: randomUUID(), username, passwordHash: await hash(password) }
    // Nothing is awaited from here on, or two could take one name. In a database: a unique index.
    if (this.#byName.has(username)) return null
    this.#byName.set(username, user)
    return user
  }

  /** Returns the user with this name and password, or null. */
  async check (username: string, password: string): Promise<User | null> {
    const user = this.#byName.get(username)
    const matches = await verify(user?.passwordHash ?? await this.#nobodysHash, password)
    return matches && user !== undefined ? user : null
  }
}
