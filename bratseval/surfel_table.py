"""Area of the surface element in every 2x2x2 neighborhood, from marching cubes.

The data are the normals of the surface elements of the 256 neighbor codes as tabulated in
DeepMind's surface-distance (https://github.com/google-deepmind/surface-distance, file
surface_distance/lookup_tables.py, Copyright 2018 Google Inc., Apache License 2.0), which BraTS
2023-2025 vendored. The length of a normal is the element's area for unit spacing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# One word a code, "-" for no surface; each letter is one coordinate of a normal in eighths
# ("m" = 0, "n" = 1/8, "l" = -1/8, ...), three letters a normal, up to four normals.
_TABLE = """
    - nnn lln kkmoo nln kmkomo nlnlln qmmooonnn lnn nnnlnn kmokmo qmmkkolln okmok qmmokolnl immkoolnn
    qmmq nll mkkmoo llnnll mimooonnn nlnnll mmiooolll llnnlnnll lllkkkooonnn lnnnll mkkmoolnn kmokmonll
    nnnpppmkokmo nllokmok pppmoklllko immlllkkknnn immlllkkk nln nnnnln mkomok mimnnlook nlnnln
    nlnkmkomo mkomoknln jjpmoonnlkmk lnnnln nnnnlnlnn mmqkkolln ookooknnllln nlnokmok qmmokolnlnln
    mokpjjlnnoo immkkolln okmko mqmkoonll mqmnlnkok mqmmi okmkomnln jjjkmolllko nnnmimkkklll mimkkklll
    lnnokmko mqmookllnlln jpjkkmlnlkmo mqmooklln okmkomokmok kkmkkmlln nnnkkmkk kkmkk lln nnnlln llnlln
    llnkkmoo mkomko mmqokonln mkomkolln pjpmkklnloo llnlnn nnnllnlnn llnkmokmo qmmkkollnlln mqmkoknln
    kokkoklnllnl kmkpjjmoklnn qmmkoknln kmoomk mmqkoolnn llnkmoomk kmkjppkkmlnn mmiooklln mmqmmq
    nnnnnnooommq nnnooommq kmoomklnn mmqokonlnnln kmokmokmoomk nlnomoomo omojjpkomlln mmqokonln
    nnnomoomo omoomo llnnln nnnllnnln llnmkomok mimnnlooklln mkomkonln mmqokonlnnln mkomkomkomok
    moomoonll lnnnlnlln lnnnlnllnnnn mmqkkollnlln nnnnlnnll mqmkoknlnnln nnnllnnll mkkmoonnn nnnnll
    qmmokknll koolnnkoonll pjpmoolnlkmo mimkoolnn jjpokmmoolln lnnkoommq nnnmoomoo moomoo qmmooonnnnnn
    nlnllnnnn kmkomonnn nnnnln kkmoomnnn nnnlln nnnnnn nnn nnn nnnnnn nnnlln kkmoomnnn nnnnln kmkomonnn
    nlnllnnnn qmmooonnnnnn moomoo nnnmoomoo lnnkoommq jjpokmmoolln mimkoolnn pjpmoolnlkmo koolnnkoonll
    qmmokknll nnnnll mkkmoonnn nnnllnnll mqmkoknlnnln nnnnlnnll mmqkkollnlln lnnnlnllnnnn lnnnlnlln
    moomoonll mkkmoomoomoo mmqokonlnnln mkomkonln mimnnlooklln llnmkomok nnnllnnln llnnln omoomo
    nnnomoomo mmqokonln omojjpkomlln nlnomoomo kmkomoomoomo mmqokonlnnln kmoomklnn nnnooommq
    nnnnnnooommq mmqmmq mmiooklln kmkjppkkmlnn llnkmoomk mmqkoolnn kmoomk qmmkoknln kmkpjjmoklnn
    kokkoklnllnl mqmkoknln qmmkkollnlln llnkmokmo nnnllnlnn llnlnn pjpmkklnloo mkomkolln mmqokonln
    mkomko llnkkmoo llnlln nnnlln lln kkmkk nnnkkmkk kkmkkmlln kkmkkmkkmoo mqmooklln jpjkkmlnlkmo
    mqmookllnlln lnnokmko mimkkklll nnnmimkkklll jjjkmolllko okmkomnln mqmmi mqmnlnkok mqmkoonll okmko
    immkkolln mokpjjlnnoo qmmokolnlnln nlnokmok ookooknnllln mmqkkolln nnnnlnlnn lnnnln jjpmoonnlkmk
    mkomoknln nlnkmkomo nlnnln mimnnlook mkomok nnnnln nln immlllkkk immlllkkknnn pppmoklllko nllokmok
    nnnpppmkokmo kmokmonll mkkmoolnn lnnnll lllkkkooonnn llnnlnnll mmiooolll nlnnll mimooonnn llnnll
    mkkmoo nll qmmq immkoolnn qmmokolnl okmok qmmkkolln kmokmo nnnlnn lnn qmmooonnn nlnlln kmkomo nln
    kkmoo lln nnn -
"""


def _decode() -> np.ndarray:
    eighths = np.zeros((256, 12))
    for code, word in enumerate(_TABLE.split()):
        if word != "-":
            eighths[code, : len(word)] = [ord(letter) - ord("m") for letter in word]
    return (eighths / 8).reshape(256, 4, 3)


NORMALS = _decode()
NORMALS.setflags(write=False)


@lru_cache(maxsize=64)
def surfel_areas(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Area (256,) in mm^2 of the surface element of each neighbor code.

    The sum over its normals of |(n0*s1*s2, n1*s0*s2, n2*s0*s1)|, added one by one in the order of
    the table, as the official code does.
    """
    s0, s1, s2 = spacing_mm
    areas = np.zeros(256)
    for code in range(256):
        for n0, n1, n2 in NORMALS[code]:
            areas[code] += np.linalg.norm([n0 * s1 * s2, n1 * s0 * s2, n2 * s0 * s1])
    areas.setflags(write=False)
    return areas
