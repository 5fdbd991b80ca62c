import { runInThisContext } from 'node:vm'
import ts from 'typescript'
import { DEFAULT_PREFIX } from '../../lib/redis/keys.ts'

/** A member of an interface or a class, as its comment has it. */
export interface Member {
  readonly name: string
  /** Its type, without `undefined`. Of a method its signature from the first parenthesis on. */
  readonly type: string
  readonly isMethod: boolean
  /** Whether it may be left out. */
  readonly isOptional: boolean
  /** The comment without its tags, in one line. */
  readonly text: string
  /** Text of `@default`. */
  readonly default: string | undefined
  /** Text of each `@see`. */
  readonly see: readonly string[]
  /** Text of each `@throws`. */
  readonly throws: readonly string[]
}

/** Reads the public members of the interfaces and classes of a file, with their comments. */
export function interfacesOf (path: string): Map<string, Member[]> {
  const { statements } = parsed(path)
  const augmented = statements.filter(ts.isModuleDeclaration).map(({ body }) => body)
    .filter((body) => body !== undefined && ts.isModuleBlock(body)).flatMap((body) => [...body.statements])
  const all = [...statements, ...augmented]
  const types = [...all.filter(ts.isInterfaceDeclaration), ...all.filter(ts.isClassDeclaration)]
  return new Map(types.map(({ name, members }) => [name?.text ?? '', [...members].filter(isPublic).map(memberOf)]))
}

/** Reads a type that a file declares with `type`: its text, and its comment. */
export function aliasOf (path: string, name: string): { node: ts.TypeNode, text: string } {
  const statement = parsed(path).statements.filter(ts.isTypeAliasDeclaration).find((each) => each.name.text === name)
  if (statement === undefined) throw new Error(`${path} has no type ${name}`)
  return { node: statement.type, text: commentOf(statement).text }
}

/** Returns the signature of a function type: its parameters and its result. */
export function signatureOf (node: ts.FunctionTypeNode | Method): string {
  const generics = node.typeParameters === undefined ? '' : `<${node.typeParameters.map((each) => each.getText()).join(', ')}>`
  const parameters = node.parameters.map(({ dotDotDotToken, name, questionToken, initializer, type }) => {
    const isOptional = questionToken !== undefined || initializer !== undefined
    return `${dotDotDotToken === undefined ? '' : '...'}${name.getText()}${isOptional ? '?' : ''}: ${type?.getText() ?? 'any'}`
  })
  return oneLine(`${generics}(${parameters.join(', ')}): ${node.type?.getText() ?? 'void'}`)
}

/**
 * Reads the defaults that a file destructures, as `{ prefix = 'sess:' }` does: their text by name. Of one that is a
 * constant of the file, the text of that.
 */
export function destructuredDefaults (path: string): Map<string, Set<string>> {
  const source = parsed(path)
  const constants = new Map(source.statements.filter(ts.isVariableStatement).flatMap(({ declarationList }) => {
    return declarationList.declarations.map(({ name, initializer }) => [name.getText(), initializer?.getText() ?? ''])
  }))
  const found = new Map<string, Set<string>>()
  const visit = (node: ts.Node): void => {
    if (ts.isBindingElement(node) && node.initializer !== undefined) {
      const [name, text] = [(node.propertyName ?? node.name).getText(), node.initializer.getText()]
      found.set(name, (found.get(name) ?? new Set()).add(constants.get(text) ?? text))
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** Returns the value that a default has, whose text stands in a comment or in code. */
export function valueOf (text: string): unknown {
  return (runInThisContext(`(DEFAULT_PREFIX) => (${text})`) as (prefix: string) => unknown)(DEFAULT_PREFIX)
}

function parsed (path: string): ts.SourceFile {
  const text = ts.sys.readFile(path)
  if (text === undefined) throw new Error(`there is no ${path}`)
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
}

type Method = ts.MethodSignature | ts.MethodDeclaration
type Property = ts.PropertySignature | ts.PropertyDeclaration

function isPublic (member: ts.Node): member is Method | Property {
  if (!ts.isMethodSignature(member) && !ts.isMethodDeclaration(member) && !ts.isPropertySignature(member)) return false
  return !ts.isPrivateIdentifier(member.name) && !isBehindOverloads(member)
}

/** Whether a member is the one with the body of those with its name: nobody sees its signature. */
function isBehindOverloads (member: ts.Node): boolean {
  if (!ts.isMethodDeclaration(member) || member.body === undefined) return false
  const { members = [] } = member.parent as Partial<ts.ClassDeclaration>
  return members.some((each) => ts.isMethodDeclaration(each) && each.body === undefined && each.name.getText() === member.name.getText())
}

function memberOf (member: Method | Property): Member {
  const isMethod = ts.isMethodSignature(member) || ts.isMethodDeclaration(member)
  return {
    name: member.name.getText().replaceAll("'", ''),
    type: isMethod ? signatureOf(member) : typeTextOf(member).replace(/ \| undefined$/, ''),
    isMethod,
    isOptional: member.questionToken !== undefined,
    ...commentOf(member)
  }
}

const printer = ts.createPrinter({ removeComments: true })

function typeTextOf ({ type }: Property): string {
  return type === undefined ? '' : oneLine(printer.printNode(ts.EmitHint.Unspecified, type, type.getSourceFile()))
}

function commentOf (node: ts.Node): Pick<Member, 'text' | 'default' | 'see' | 'throws'> {
  const comments = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc)
  const tags = comments.flatMap(({ tags = [] }) => [...tags])
  // TypeScript takes the first word of some tags for a name.
  const textsOf = (name: string) => tags.filter(({ tagName }) => tagName.text === name)
    .map((tag) => (tag.getText().split('\n', 1)[0] ?? '').slice(`@${name} `.length).replace(/\*\/$/, '').trim())
  return {
    text: comments.map(({ comment }) => oneLine(ts.getTextOfJSDocComment(comment) ?? '')).join(' '),
    default: textsOf('default')[0],
    see: textsOf('see'),
    throws: textsOf('throws')
  }
}

function oneLine (text: string): string {
  return text.replace(/\s+/g, ' ').trim()
}
