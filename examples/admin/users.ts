// The users, in memory. Put your database here.
import { randomUUID } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'

export interface User { id: string, isOperator: boolean, passwordHash: Promise<string> }

const user = (id: string, password: string, isOperator = false): User => {
  return { id, isOperator, passwordHash: hash(password) }
}

const USERS = [user('grace', 'hopper', true), user('ada', 'lovelace'), user('bob', 'builder')]
/** Compared with the password of an unknown name, so that it takes as long as a wrong password. */
const NOBODY = user(randomUUID(), randomUUID())

export function findUser (id: string): User | undefined {
  return USERS.find((each) => each.id === id)
}

/** Returns the user with this name and password, or null. */
export async function checkPassword (name: string, password: string): Promise<User | null> {
  const user = findUser(name) ?? NOBODY
  return await verify(await user.passwordHash, password) && user !== NOBODY ? user : null
}
