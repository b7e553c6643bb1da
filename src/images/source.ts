export type ImageRequest =
  | { readonly kind: 'known'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'url'; readonly url: string; readonly digest: string };
export function parseImageRequest(image: string, _digest?: string): ImageRequest {
  return { kind: 'known', name: image };
}
