// The users of the demo. Your application has a database for this.
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { stepOf } from './totp.ts'

export interface User {
  id: number
  username: string
  name: string
  /** The address until the user changes it. */
  email: string
  password: { salt: Buffer, key: Buffer }
  /** The secret that the user's authenticator app shares with the server. */
  totpSecret: Buffer
}

const derive = promisify<string, Buffer, number, Buffer>(scrypt)

async function hash (password: string): Promise<User['password']> {
  const salt = randomBytes(16)
  return { salt, key: await derive(password, salt, 32) }
}

const ada: User = {
  id: 1,
  username: 'ada',
  name: 'Ada',
  email: 'ada@example.com',
  password: await hash('lovelace'),
  totpSecret: Buffer.from('the demo: ada\'s phone')
}
const bob: User = {
  id: 2,
  username: 'bob',
  name: 'Bob',
  email: 'bob@example.com',
  password: await hash('builder'),
  totpSecret: Buffer.from('the demo: bob\'s phone')
}
const users = [ada, bob]
// An unknown name takes as long as a wrong password: it is compared with this.
const nobodysPassword = await hash(randomBytes(16).toString('hex'))

/** Finds a user by the id that sessions hold. */
export function findUser (id: string): User | undefined {
  return users.find((user) => String(user.id) === id)
}

/** Returns the user with this name and password, or `null`. */
export async function verifyPassword (username: string, password: string): Promise<User | null> {
  const user = users.find((each) => each.username === username)
  const { salt, key } = user?.password ?? nobodysPassword
  return timingSafeEqual(await derive(password, salt, 32), key) && user !== undefined ? user : null
}

/** The time step of the last code that each user has used. */
const usedSteps = new Map<User, number>()

/** Whether a code of the user's authenticator app is right. Each code is right once. */
export function verifyCode (user: User, code: string): boolean {
  const step = stepOf(user.totpSecret, code)
  if (step === null || step <= (usedSteps.get(user) ?? 0)) return false
  usedSteps.set(user, step)
  return true
}
