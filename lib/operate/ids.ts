import { isUserIdText } from '../session/record.ts'
import { isId } from '../session/token.ts'
import { misuse } from './exit.ts'

/**
 * Returns an argument that is the id of a session.
 * @throws Failure
 */
export function idFrom (argument: string | undefined): string {
  if (argument === undefined) throw misuse('the id of a session is missing')
  if (!isId(argument)) throw misuse('the id of a session has 22 characters: letters, digits, "-" and "_"')
  return argument
}

/**
 * Returns an argument that is the id of a user.
 * @throws Failure
 */
export function userIdFrom (argument: string): string {
  if (!isUserIdText(argument)) throw misuse('the id of a user has 1 to 255 characters')
  return argument
}
