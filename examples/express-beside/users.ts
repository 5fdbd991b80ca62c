// The users of both applications. Put your database here.
import { randomBytes } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'

const users = new Map([
  ['ada', { id: '1', passwordHash: await hash('lovelace') }],
  ['bob', { id: '2', passwordHash: await hash('builder') }]
])
// The password of an unknown name is compared with this, so that it takes as long as a wrong password.
const nobodysHash = await hash(randomBytes(16).toString('hex'))

/** Returns the user with this name and password, or null. */
export async function checkUser (username: string, password: string): Promise<{ id: string } | null> {
  const user = users.get(username)
  return await verify(user?.passwordHash ?? nobodysHash, password) && user !== undefined ? { id: user.id } : null
}
