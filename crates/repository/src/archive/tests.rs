use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;

const FILE: u8 = b'0';

/// Returns one member of an archive, with its padding.
fn member(kind: u8, path: &str, content: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK];
    let mut put =
        |start: usize, bytes: &[u8]| block[start..start + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, b"0000644\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: usize = block.iter().map(|byte| usize::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = [block.as_slice(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (1..9).find(|digits| (rest.len() + digits).to_string().len() == *digits);
    let record = format!("{}{rest}", rest.len() + length.expect("a length"));
    member(b'x', "pax", record.as_bytes())
}

fn compressed(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar).expect("in memory");
    encoder.finish().expect("in memory")
}

fn digest_of(archive: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(archive)))
}

fn unpacked(members: &[Vec<u8>]) -> Result<Tree, Fault> {
    let mut tar = members.concat();
    tar.resize(tar.len() + 2 * BLOCK, 0);
    let archive = compressed(&tar);
    Tree::from_archive(&archive, &digest_of(&archive), &|_| true)
}

#[track_caller]
fn refused(members: &[Vec<u8>], reason: Reason) {
    assert_eq!(
        unpacked(members).err().map(|fault| fault.reason),
        Some(reason)
    );
}

#[test]
fn regular_files_are_read() {
    let long = "long/".repeat(40) + "name";
    let tree = unpacked(&[
        member(
            b'g',
            "pax_global_header",
            b"52 comment=4a200ca74170b45ca3062a85c37d0640a255bb79\n",
        ),
        member(b'5', "a/", b""),
        member(FILE, "a/one", b"1"),
        member(b'5', "a/", b""),
        member(0, "./two", &[b'2'; BLOCK]),
        pax("path", &long),
        member(FILE, "ignored", b"3"),
        member(b'L', "././@LongLink", b"gnu\0"),
        member(FILE, "ignored", b""),
    ]);
    let tree = tree.expect("a valid archive");
    assert!(tree.paths().eq(["a/one", "gnu", &long, "two"]));
    assert_eq!(tree.get("two").expect("a file").expose(), [b'2'; BLOCK]);
    assert_eq!(tree.get(&long).expect("a file").expose(), b"3");
}

#[test]
fn prefix_of_the_header_belongs_to_the_path() {
    let mut bytes = member(FILE, "name", b"");
    bytes[345..351].copy_from_slice(b"folder");
    let sum: usize = bytes.iter().map(|byte| usize::from(*byte)).sum();
    let own: usize = bytes[148..156].iter().map(|byte| usize::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{:06o}\0 ", sum - own + 256).as_bytes());
    assert!(
        unpacked(&[bytes])
            .expect("valid")
            .paths()
            .eq(["folder/name"])
    );
}

#[test]
fn links_and_special_files_are_refused() {
    for kind in [b'1', b'2', b'3', b'4', b'6', b'7', b'S', b'K', b'V', 255] {
        refused(&[member(kind, "a", b"")], Reason::NotARegularFile);
    }
    refused(
        &[pax("GNU.sparse.major", "1"), member(FILE, "a", b"")],
        Reason::NotARegularFile,
    );
}

#[test]
fn paths_that_leave_the_repository_are_refused() {
    for path in ["/etc/passwd", "../a", "a/../../b", "a/..", "a\\b", "a\nb"] {
        refused(&[member(FILE, path, b"")], Reason::InvalidPath);
        refused(
            &[pax("path", path), member(FILE, "a", b"")],
            Reason::InvalidPath,
        );
        refused(
            &[
                member(b'L', "long", path.as_bytes()),
                member(FILE, "a", b""),
            ],
            Reason::InvalidPath,
        );
        refused(&[member(b'5', path, b"")], Reason::InvalidPath);
    }
}

#[test]
fn path_that_occurs_twice_is_refused() {
    refused(
        &[member(FILE, "a", b"1"), member(FILE, "./a", b"2")],
        Reason::DuplicatePath,
    );
    let archive = compressed(&[member(FILE, "a", b""), member(FILE, "a", b"")].concat());
    let fault = Tree::from_archive(&archive, &digest_of(&archive), &|_| false).err();
    assert_eq!(fault.map(|fault| fault.reason), Some(Reason::DuplicatePath));
}

#[test]
fn only_needed_files_are_kept() {
    let archive = compressed(&[member(FILE, "a.env", b"1"), member(FILE, "b", b"2")].concat());
    let tree = Tree::from_archive(&archive, &digest_of(&archive), &|path| path == "a.env");
    assert!(tree.expect("valid").paths().eq(["a.env"]));
}

#[test]
fn other_digest_is_refused_before_unpacking() {
    let archive = compressed(&member(FILE, "a", b""));
    let digest = digest_of(&archive);
    assert!(
        Tree::from_archive(
            &archive,
            &digest.to_uppercase().replace("SHA", "sha"),
            &|_| true
        )
        .is_ok()
    );
    let other = digest_of(b"other");
    for digest in [
        other.as_str(),
        "",
        &digest[7..],
        "sha256:",
        "sha512:00",
        "md5:00",
    ] {
        let fault = Tree::from_archive(b"not even an archive", digest, &|_| true).err();
        assert_eq!(
            fault.map(|fault| fault.reason),
            Some(Reason::DigestMismatch)
        );
    }
}

#[test]
fn unpacked_size_is_limited() {
    let archive = compressed(&[member(FILE, "a", &[0; 700]), member(FILE, "b", b"12345")].concat());
    assert!(Tree::unpack(&archive, 705, &|_| true).is_ok());
    // Also if the files are not needed.
    for needed in [true, false] {
        let fault = Tree::unpack(&archive, 704, &|_| needed).err();
        assert_eq!(fault.map(|fault| fault.reason), Some(Reason::TooLarge));
    }
}

#[test]
fn size_in_a_header_allocates_nothing_beyond_the_limit() {
    for size in ["9223372036854775807", "18446744073709551615", "67108865"] {
        refused(
            &[pax("size", size), member(FILE, "a", b"")],
            Reason::TooLarge,
        );
    }
    refused(
        &[pax("size", "1e3"), member(FILE, "a", b"")],
        Reason::InvalidArchive,
    );
}

#[test]
fn number_of_entries_is_limited() {
    let folders = |count: usize| -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| member(b'5', &format!("{n}/"), b""))
            .collect()
    };
    assert!(unpacked(&folders(MAX_FILES)).is_ok());
    refused(&folders(MAX_FILES + 1), Reason::TooLarge);
    let headers: Vec<Vec<u8>> = (0..=3 * MAX_FILES).map(|_| pax("a", "b")).collect();
    refused(&headers, Reason::TooLarge);
}

#[test]
fn large_extended_header_is_refused() {
    let long = "a".repeat(MAX_EXTENDED);
    refused(
        &[pax("path", &long), member(FILE, "a", b"")],
        Reason::TooLarge,
    );
    refused(
        &[
            member(b'L', "l", &vec![b'a'; MAX_EXTENDED + 1]),
            member(FILE, "a", b""),
        ],
        Reason::TooLarge,
    );
}

#[test]
fn broken_archives_are_refused() {
    let tar = member(FILE, "a", b"1");
    let mut other_checksum = tar.clone();
    other_checksum[0] = b'b';
    for tar in [
        &tar[..BLOCK - 1],
        &tar[..BLOCK],
        &tar[..=BLOCK],
        &other_checksum,
    ] {
        let archive = compressed(tar);
        let fault = Tree::from_archive(&archive, &digest_of(&archive), &|_| true).err();
        assert_eq!(
            fault.map(|fault| fault.reason),
            Some(Reason::InvalidArchive)
        );
    }
    let archive = compressed(&tar);
    for archive in [&archive[..archive.len() / 2], &archive[1..], b"".as_slice()] {
        let fault = Tree::from_archive(archive, &digest_of(archive), &|_| true).err();
        assert_eq!(
            fault.map(|fault| fault.reason),
            Some(Reason::InvalidArchive)
        );
    }
}

#[test]
fn every_record_of_an_extended_header_is_checked() {
    for records in [
        "5", "5 ", "0 a=b\n", "99 a=b\n", "6 a=b\nx", "5 a=b\n", "-6 a=b\n", "6 aab\n", "2 a=b\n",
    ] {
        refused(
            &[
                member(b'x', "x", records.as_bytes()),
                member(FILE, "a", b""),
            ],
            Reason::InvalidArchive,
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048), compress: bool) {
        let archive = if compress { compressed(&bytes) } else { bytes };
        drop(Tree::from_archive(&archive, &digest_of(&archive), &|_| true));
    }

    #[test]
    fn damaged_archives_do_not_panic(place in 0..3 * BLOCK, byte: u8) {
        let mut tar = [pax("path", "b"), member(FILE, "a", b"1")].concat();
        tar[place] = byte;
        let archive = compressed(&tar);
        drop(Tree::from_archive(&archive, &digest_of(&archive), &|_| true));
    }
}
